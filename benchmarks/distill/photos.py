"""Photographs: students are small residual networks, teachers are trained on other photographs.

Clothes (ten kinds) for students, with teachers for groups of Tiny ImageNet's classes, or with the ImageNet networks
themselves. And Tiny ImageNet: students of twenty classes, teachers of twenty classes that share 0, 50 or 100 % of them;
students of eight groups ("structure", "arthropod"), teachers of sixteen of the groups' members and of others.

Teachers are linear heads on features of EfficientNet-Lite 0, a common practice, with 16 or 20 classes. No picture of a
student is among a head's training pictures. The features are trained on ImageNet, and so possibly on pictures of Tiny
ImageNet; not on the clothes. The teacher with random weights is a random network with a random head.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from benchmarks.distill.cell import Cell, Course, Float32, Int64, Task, noise_like, overlapping, split
from benchmarks.photographs import SIDE, Collection, features, logits
from benchmarks.ranking.heads import HeadData, trained
from benchmarks.ranking.vectors import kept_vectors
from examples.demo_zoo import imagenet
from preceptor.contract.distillations import BuiltinStudent
from worker.distillation.evaluation.measures import predict
from worker.distillation.inputs import ArrayItems, TeacherSignal, TrainingData
from worker.distillation.students import Surroundings, blueprint_of
from worker.distillation.teaching.label_map import standardised
from worker.label_encoder import DEFAULT_ENCODER, load_encoder

COURSE = Course(steps=160, batch=64, rate=None, slow=True)
"""Eight or nine epochs, at the student's default rate."""
TRANSFER = 1200
TEST = 600
CLASSES, GROUPS, SIZE = 20, 8, 16
"""Classes of a student of Tiny ImageNet; groups of a student of groups; classes of a teacher of the other tasks."""
OVERLAPS = (0.0, 0.5, 1.0)
_TEACHER_ITEMS = 45
"""Pictures of a class of Tiny ImageNet that teachers are trained on; students have the others."""
_LEAST = 5
"""Minimum number of classes of a group that a student has."""
_PENALTY = 0.003
_CLOTHES = Path("clothing")
_TINY = Path("tiny_imagenet")


def tasks(folder: Path, kept: Path) -> Iterator[Task]:
    """The tasks for which the folder has pictures.

    Parameters
    ----------
    folder
        Holds ``clothing/`` and ``tiny_imagenet/``, Parquet with the columns image and label, and labels.json.
    kept
        Folder for features, which take minutes to compute.
    """
    if not all((folder / part / "train.parquet").is_file() for part in (_CLOTHES, _TINY)):
        return

    def task(name: str, overlap: float | None, cell: "Callable[[_Dataset, int, int], Cell]") -> Task:
        return Task(name, "images", overlap, lambda each, seed: cell(_dataset(folder, kept), each, seed), COURSE)

    yield task("clothing, heads", None, lambda dataset, each, seed: _clothing(dataset, each, seed, networks=False))
    yield task("clothing, networks", None, lambda dataset, each, seed: _clothing(dataset, each, seed, networks=True))
    yield task("tiny imagenet groups", None, _groups)
    for overlap in OVERLAPS:
        yield task(f"tiny imagenet {overlap:.0%}", overlap, lambda s, e, seed, o=overlap: _classes(s, e, seed, o))


@dataclass(frozen=True)
class _Dataset:
    """All pictures with their features: those of Tiny ImageNet first, then the clothes.

    Attributes
    ----------
    tiny, clothes
        Classes in Tiny ImageNet and among the clothes; -1 for pictures of the other collection. Shape (N,).
    vectors
        Scaled features of EfficientNet-Lite 0, shape (N, 1280).
    groups
        Group of each class of Tiny ImageNet.
    """

    pictures: list[bytes]
    tiny: Int64
    clothes: Int64
    vectors: Float32
    networks: dict[int, Float32]
    names: list[str]
    groups: list[str]
    kinds: list[str]

    def head_data(self, teaching: Int64) -> HeadData:
        """Tiny ImageNet for heads trained on these rows."""
        others = np.setdiff1d(np.flatnonzero(self.tiny >= 0), teaching)
        return HeadData(
            "head", "linear", self.vectors, self.tiny, self.names, _points(self.names), teaching, others, _PENALTY
        )

    def members(self, group: str) -> Int64:
        """Classes of one group of Tiny ImageNet."""
        return np.flatnonzero(np.array(self.groups) == group)


@cache
def _dataset(folder: Path, kept: Path) -> _Dataset:
    tiny = Collection(folder / _TINY, ("train", "val"))
    clothes = Collection(folder / _CLOTHES, ("train", "validation", "test"))

    def seen(collection: Collection, variant: int) -> Float32:
        found: list[Float32] = []
        for name, part in zip(collection.parts, collection.read, strict=True):
            path = kept / f"lite{variant}-{SIDE}-{collection.folder.name}-{name}-{len(part.bytes)}.npy"
            found.append(kept_vectors(path, lambda part=part: features(variant, part.bytes)))
        return np.concatenate(found)

    mine = seen(clothes, 0)
    vectors = np.concatenate([seen(tiny, 0), mine])
    count = len(vectors) - len(mine)
    return _Dataset(
        tiny.pictures + clothes.pictures,
        np.concatenate([tiny.labels, np.full(len(mine), -1)]),
        np.concatenate([np.full(count, -1), clothes.labels]),
        (vectors / vectors.std()).astype(np.float32),
        {0: logits(0, mine), 1: logits(1, seen(clothes, 1))},
        tiny.described["names"],
        tiny.described["groups"],
        clothes.described["names"],
    )


_known: dict[str, Float32] = {}


def _points(names: list[str]) -> Float32:
    """Embeddings of names, each encoded once."""
    new = [name for name in dict.fromkeys(names) if name not in _known]
    if new:
        _known.update(zip(new, load_encoder(DEFAULT_ENCODER).encode(new), strict=True))
    return np.stack([_known[name] for name in names])


@dataclass(frozen=True)
class _Student:
    """A student's pictures: rows of the dataset, and the student's class number of every row, -1 for none."""

    labelled: Int64
    transfer: Int64
    test: Int64
    classes: Int64
    names: list[str]

    @property
    def unnamed(self) -> Int64:
        """Labelled rows, followed by transfer rows."""
        return np.concatenate([self.labelled, self.transfer])

    def signal(self, name: str, labels: list[str], outputs: Float32) -> TeacherSignal:
        """A teacher, from its logits on `unnamed`."""
        cost = (1 - _points(labels) @ _points(self.names).T).astype(np.float32)
        first = len(self.labelled)
        return TeacherSignal(name, labels, outputs[:first], cost, outputs[first:])


def _student(
    classes: Int64, names: list[str], pool: Int64, test: Int64, each: int, generator: np.random.Generator
) -> _Student:
    mine = np.arange(len(names))
    chosen = split(classes[pool], mine, each, TRANSFER, generator)
    tested = generator.permutation(test[np.isin(classes[test], mine)])[:TEST]
    return _Student(pool[chosen.labelled], pool[chosen.transfer], tested, classes, names)


def _cell(dataset: _Dataset, student: _Student, zoo: list[TeacherSignal], generator: np.random.Generator) -> Cell:
    def items(rows: Int64) -> ArrayItems:
        return ArrayItems(images=[dataset.pictures[row] for row in rows])

    def own(rows: Int64) -> Int64:
        return student.classes[rows].astype(np.int64)

    data = TrainingData(
        items(student.labelled),
        own(student.labelled),
        student.names,
        items(student.transfer),
        items(student.test),
        own(student.test),
    )
    labels = [dataset.names[c] for c in np.sort(generator.permutation(len(dataset.names))[:SIZE])]
    random = student.signal("random weights", labels, _untrained(items(student.unnamed), len(labels), generator))
    x = dataset.vectors
    head = LogisticRegression(C=_PENALTY, max_iter=300).fit(x[student.labelled], own(student.labelled))
    upper = float(head.score(x[student.test], own(student.test)))
    return Cell(data, zoo, random, noise_like(random, generator), upper)


def _untrained(pictures: ArrayItems, classes: int, generator: np.random.Generator) -> Float32:
    """Logits of a random head on a random network, with the spread of a confident teacher, shape (N, K)."""
    with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng():
        torch.manual_seed(int(generator.integers(2**31)))
        blueprint = blueprint_of(BuiltinStudent(), Surroundings(pictures, None, classes, "cpu", Path(scratch)))
        model = blueprint.build().eval()
        answers = standardised(predict(model, blueprint.encode(pictures)))
    outputs = answers @ generator.normal(size=(classes, classes))
    return (4 * outputs / outputs.std()).astype(np.float32)


def _heads(dataset: _Dataset, student: _Student, teaching: Int64, sets: dict[str, Int64]) -> list[TeacherSignal]:
    head_data = dataset.head_data(teaching)
    zoo = [(name, trained(head_data, name, mine, _TEACHER_ITEMS)) for name, mine in sets.items()]
    return [student.signal(name, teacher.labels, teacher.logits[student.unnamed]) for name, teacher in zoo]


def _halves(dataset: _Dataset, seed: int) -> tuple[Int64, Int64]:
    """Rows of Tiny ImageNet for training teachers, and the other rows, each shuffled."""
    generator = np.random.default_rng([seed, 7])
    order = generator.permutation(np.flatnonzero(dataset.tiny >= 0))
    teaching = np.concatenate([order[dataset.tiny[order] == c][:_TEACHER_ITEMS] for c in range(len(dataset.names))])
    return generator.permutation(teaching), order[~np.isin(order, teaching)]


def _clothing(dataset: _Dataset, each: int, seed: int, *, networks: bool) -> Cell:
    generator = np.random.default_rng([seed, 2, networks])
    rows = np.random.default_rng([seed, 3]).permutation(np.flatnonzero(dataset.clothes >= 0))
    student = _student(dataset.clothes, dataset.kinds, rows[TEST:], rows[:TEST], each, generator)
    teaching, _ = _halves(dataset, seed)
    known = ("clothing", "structure") if networks else ("clothing", "device_tool", "structure", "arthropod")
    sets = {name: np.sort(generator.permutation(dataset.members(name))[:SIZE]) for name in known}
    sets["mix"] = np.sort(generator.permutation(len(dataset.names))[:SIZE])
    zoo = _heads(dataset, student, teaching, sets)
    if networks:
        first = int(np.flatnonzero(dataset.clothes >= 0)[0])
        zoo += [
            student.signal(f"ImageNet, lite{variant}", imagenet.class_names(), outputs[student.unnamed - first])
            for variant, outputs in dataset.networks.items()
        ]
    return _cell(dataset, student, zoo, generator)


def _groups(dataset: _Dataset, each: int, seed: int) -> Cell:
    generator = np.random.default_rng([seed, 4])
    large = sorted(group for group in set(dataset.groups) if len(dataset.members(group)) >= _LEAST)
    names = [large[n] for n in np.sort(generator.permutation(len(large))[:GROUPS])]
    number = np.array([names.index(group) if group in names else -1 for group in dataset.groups])
    classes = np.where(dataset.tiny >= 0, number[dataset.tiny], -1)
    teaching, others = _halves(dataset, seed)
    parts = [others[classes[others] == c] for c in range(GROUPS)]
    # The same number of items for each group, although groups have between five and fifty classes.
    count, tested = min(len(part) for part in parts), TEST // GROUPS
    pool = np.concatenate([part[tested:count] for part in parts])
    test = np.concatenate([part[:tested] for part in parts])
    student = _student(classes, names, pool, test, each, generator)
    every = np.arange(len(dataset.names))
    sets = {f"mix {place}": np.sort(generator.permutation(every)[:SIZE]) for place in range(3)}
    sets |= {name: np.sort(generator.permutation(dataset.members(name))[:SIZE]) for name in ("arthropod", "structure")}
    return _cell(dataset, student, _heads(dataset, student, teaching, sets), generator)


def _classes(dataset: _Dataset, each: int, seed: int, overlap: float) -> Cell:
    generator = np.random.default_rng([seed, 5, round(100 * overlap)])
    every = np.arange(len(dataset.names))
    mine = np.sort(generator.permutation(every)[:CLASSES])
    number = np.full(len(every), -1)
    number[mine] = np.arange(CLASSES)
    classes = np.where(dataset.tiny >= 0, number[dataset.tiny], -1)
    teaching, others = _halves(dataset, seed)
    parts = [others[classes[others] == c] for c in range(CLASSES)]
    tested = TEST // CLASSES
    pool = np.concatenate([part[tested:] for part in parts])
    test = np.concatenate([part[:tested] for part in parts])
    student = _student(classes, [dataset.names[c] for c in mine], pool, test, each, generator)
    sets: dict[str, Int64] = {}
    for place in range(3):
        # If all classes are shared, teachers differ in foreign ones.
        size = CLASSES + (5 * place if overlap == 1 else 0)
        sets[f"overlap {overlap:.0%} {place}"] = np.sort(
            np.concatenate(overlapping(mine, every, overlap, size, generator))
        )
    for place in range(2):
        sets[f"other {place}"] = np.sort(generator.permutation(np.setdiff1d(every, mine))[:CLASSES])
    return _cell(dataset, student, _heads(dataset, student, teaching, sets), generator)
