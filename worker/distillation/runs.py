"""The shared inputs of all runs of a job, and one run: its items, its teachers' term, its seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preceptor.contract.distillations import EpochMetrics
from preceptor.contract.training import Training
from worker.errors import ComputationFailed
from worker.teachers.interface import Batch

from .data import Encoded
from .evaluation.measures import Agreement, HeldOutSet, predict
from .evaluation.statistics import held_out, stratified_folds
from .inputs import Float32, Int64, ItemSource, Recipe, TeacherSignal, TrainingData
from .losses import FAMILIES, Evidence, LikeliestClassTerm, Term
from .progress import Progress
from .schedule import Plan
from .students import Blueprint
from .training.checkpoints import Ledger, as_tensor, from_tensor
from .training.lockstep import OnEpoch, Row, fits, train_together
from .training.side_by_side import side_by_side
from .training.step import Material
from .training.trainer import Measures, Trained, Trainer, Watch, train

T = TypeVar("T")
HELD_OUT: Final = 0.25
"""Share of the labelled items that is held out for measurement if no test items are given."""
FOLDS: Final = 5


class Watched:
    """Items that check before every batch whether the job must stop: reading many pictures takes long."""

    def __init__(self, source: ItemSource, check: Callable[[], None]) -> None:
        self._source, self._check = source, check

    @property
    def modality(self) -> Any:
        """Modality of the items."""
        return self._source.modality

    @property
    def items(self) -> int:
        """Number of items."""
        return self._source.items

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process does not check.
        return Watched, (self._source, _no_check)

    def batches(self, size: int, indices: Any = None) -> Iterator[Batch]:
        """See `ItemSource.batches`."""
        for batch in self._source.batches(size, indices):
            self._check()
            yield batch


def _no_check() -> None:
    pass


@dataclass(frozen=True)
class TrainingRuns:
    """The shared inputs of all runs of a job.

    Attributes
    ----------
    rows, watched
        The labelled items for training; those that an early stop watches.
    held_out_set
        The test items.
    abreast
        Number of runs that may be trained in parallel.
    train
        `trainer.train`, in this process or in others.
    """

    blueprint: Blueprint
    data: TrainingData
    teachers: list[TeacherSignal]
    recipe: Recipe
    labelled: Encoded
    transfer: Encoded | None
    held_out_set: HeldOutSet
    rows: Int64
    watched: Int64
    device: torch.device
    train: Trainer
    progress: Progress
    ledger: Ledger
    abreast: int = 1

    @property
    def labels(self) -> Int64:
        """Classes of `rows`."""
        return self.data.labels[self.rows]

    def term(self, rows: Int64, at_full_weight: frozenset[int] = frozenset()) -> Term:
        """The teachers' term from these labelled items; teachers `at_full_weight` are not weighted by confidence."""
        labels = self.data.labels
        folds = stratified_folds(labels[rows], FOLDS, self.recipe.training.seed)
        evidence = Evidence(self.teachers, labels, rows, self.data.classes, folds, self.device, at_full_weight)
        return FAMILIES[self.recipe.loss.name].prepare(evidence, self.recipe.loss)

    def material(self, rows: Int64) -> Material:
        """Training items: these labelled ones and all transfer items."""
        augmentation = self.recipe.training.augmentation
        return Material(self.labelled, self.data.labels, rows, self.transfer, augmentation)

    def measures(self, term: Term | None, *, reported: bool) -> Measures:
        """The measurements after each epoch; test and agreement only if they are `reported`."""
        watched = None
        if len(self.watched):
            watched = HeldOutSet(self.labelled, self.watched, self.data.labels[self.watched])
        if not reported:
            return Measures(watched=watched)
        agreement = None
        if isinstance(term, LikeliestClassTerm) and self.transfer is not None:
            likeliest = term.likeliest[len(self.labelled) :].cpu().numpy()
            agreement = Agreement.over(self.transfer, likeliest)
        return Measures(self.held_out_set, watched, agreement)

    def at_once(self, runs: Sequence[Callable[[], T]]) -> list[T]:
        """Run several trainings, in parallel if possible."""
        if self.abreast == 1 or len(runs) == 1:
            return [run() for run in runs]
        return side_by_side(runs, min(self.abreast, len(runs)), self.progress.give_up)

    def left_out(self, name: str, rows: Int64, held: Int64, term: Term | None, weight: float, plan: Plan) -> Float32:
        """Train on `rows` and predict `held`: logits, shape (h, S)."""
        known = self.ledger.finished(name)
        if known is None:
            trained = self.train(
                self.blueprint,
                self.material(rows),
                term,
                weight,
                plan,
                watch=self.progress,
                ledger=self.ledger,
                name=name,
            )
            known = {"logits": torch.from_numpy(predict(trained.model, self.labelled, held))}
            self.ledger.finish(name, known)
        else:
            self.progress.skip(plan.steps)
        return known["logits"].numpy()

    def together(self, plan: Plan, terms: Sequence[Term | None], students: int) -> bool:
        """Whether `students` can be trained in lockstep."""
        return self.recipe.training.precision in ("auto", "fp32") and fits(self.blueprint, plan, terms, students)

    def left_out_together(
        self, names: list[list[str]], rows: list[Row], held: list[Int64], weights: Sequence[float], plan: Plan
    ) -> list[list[Float32]]:
        """`left_out` for several rows and weights at once; `names` and the logits have the same layout."""
        if not self._known(names):
            grid = train_together(
                self.blueprint,
                self.material(self.rows),
                rows,
                weights,
                plan,
                watch=self.progress,
                ledger=self.ledger,
                name=_joint(names),
            )
            for titles, students, items in zip(names, grid, held, strict=True):
                for name, trained in zip(titles, students, strict=True):
                    answers = predict(trained.model, self.labelled, items)
                    self.ledger.finish(name, {"logits": torch.from_numpy(answers)})
        else:
            self.progress.skip(plan.steps * sum(map(len, names)))
        return [[self._finished(name)["logits"].numpy() for name in titles] for titles in names]

    def run_together(
        self, names: list[list[str]], rows: list[Row], weights: Sequence[float], plan: Plan, *, on_epoch: OnEpoch
    ) -> list[list[tuple[Trained | None, NDArray[np.bool_]]]]:
        """`run` for several rows and weights at once; the students of the first row are kept."""
        if not self._known(names):
            measures = {
                (0, column): self.measures(rows[0].term if weight > 0 else None, reported=True)
                for column, weight in enumerate(weights)
            }
            grid = train_together(
                self.blueprint,
                self.material(self.rows),
                rows,
                weights,
                plan,
                watch=self.progress,
                measures=measures,
                on_epoch=on_epoch,
                ledger=self.ledger,
                name=_joint(names),
            )
            for number, (titles, students) in enumerate(zip(names, grid, strict=True)):
                for name, trained in zip(titles, students, strict=True):
                    self._finish(name, trained, self.held_out_set.right(trained.model), keep=number == 0)
        else:
            self.progress.skip(plan.steps * sum(map(len, names)))
        found: list[list[tuple[Trained | None, NDArray[np.bool_]]]] = []
        for number, titles in enumerate(names):
            known = [self._finished(name) for name in titles]
            found.append([(self._rebuilt(one) if number == 0 else None, one["right"].numpy()) for one in known])
        return found

    def _known(self, names: list[list[str]]) -> bool:
        return all(self.ledger.finished(name) is not None for titles in names for name in titles)

    def _finished(self, name: str) -> dict[str, Tensor]:
        known = self.ledger.finished(name)
        assert known is not None
        return known

    def _finish(self, name: str, trained: Trained, right: NDArray[np.bool_], *, keep: bool) -> None:
        left: dict[str, Tensor] = {"right": torch.from_numpy(right)}
        if keep:
            left["history"] = as_tensor([entry.model_dump() for entry in trained.history])
            left |= {f"model.{key}": tensor for key, tensor in trained.model.state_dict().items()}
        self.ledger.finish(name, left)

    def run(
        self, name: str, term: Term | None, weight: float, plan: Plan, *, keep: bool, watch: Watch | None = None
    ) -> tuple[Trained | None, NDArray[np.bool_]]:
        """One whole training on all rows.

        Parameters
        ----------
        keep
            Whether to keep the student, with its history.
        watch
            Receives steps and epochs; `progress` by default.

        Returns
        -------
        tuple
            The student if it is kept, and whether it predicts each test item correctly.
        """
        known = self.ledger.finished(name)
        if known is not None:
            self.progress.skip(plan.steps)
            return (self._rebuilt(known) if keep else None), known["right"].numpy()

        trained = self.train(
            self.blueprint,
            self.material(self.rows),
            term,
            weight,
            plan,
            watch=watch or self.progress,
            measures=self.measures(term, reported=keep),
            ledger=self.ledger,
            name=name,
        )
        right = self.held_out_set.right(trained.model)
        self._finish(name, trained, right, keep=keep)
        return (trained if keep else None), right

    def _rebuilt(self, known: dict[str, Tensor]) -> Trained:
        with torch.random.fork_rng():
            model = self.blueprint.build()
        model.load_state_dict({key.removeprefix("model."): t for key, t in known.items() if key.startswith("model.")})
        model.eval()
        return Trained(model, [EpochMetrics.model_validate(entry) for entry in from_tensor(known["history"])])


def _joint(names: list[list[str]]) -> str:
    """The name of the state of several runs."""
    return "+".join(name for titles in names for name in titles)


def prepare(
    recipe: Recipe,
    data: TrainingData,
    teachers: list[TeacherSignal],
    blueprint: Blueprint,
    device: torch.device,
    progress: Progress,
    ledger: Ledger,
    trainer: Trainer = train,
    abreast: int = 1,
) -> TrainingRuns:
    """Encode all items once, and hold out test items if none are given."""
    progress.say("reading the data")
    labelled = blueprint.encode(Watched(data.items, progress.check))
    transfer = None
    if data.transfer is not None and data.transfer.items:
        transfer = blueprint.encode(Watched(data.transfer, progress.check))
    if data.test is not None and data.test_labels is not None:
        test = blueprint.encode(Watched(data.test, progress.check))
        rows = np.arange(len(data.labels), dtype=np.int64)
        test_rows, test_labels = np.arange(data.test.items, dtype=np.int64), data.test_labels
    else:
        rows, test_rows = held_out(data.labels, HELD_OUT, recipe.training.seed)
        test, test_labels = labelled, data.labels[test_rows]
    rows, watched = _watched(rows, data.labels, recipe.training)
    held_out_set = HeldOutSet(test, test_rows, test_labels)
    return TrainingRuns(
        blueprint,
        data,
        teachers,
        recipe,
        labelled,
        transfer,
        held_out_set,
        rows,
        watched,
        device,
        trainer,
        progress,
        ledger,
        abreast,
    )


def _watched(rows: Int64, labels: Int64, training: Training) -> tuple[Int64, Int64]:
    """The rows to train on, and those that an early stop watches."""
    if training.early_stopping is None:
        return rows, rows[:0]
    try:
        kept, left = held_out(labels[rows], training.early_stopping.held_out, training.seed)
    except ComputationFailed:
        raise ComputationFailed(
            "there is one labelled item a class to train on, so early_stopping has none to watch; leave it out, or "
            "give more labelled items"
        ) from None
    return rows[kept], rows[left]
