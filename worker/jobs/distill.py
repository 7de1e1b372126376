"""Runs a distillation: compute the teachers' outputs once, train, store the results."""

import hashlib
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from preceptor.contract.base import now
from preceptor.contract.distillations import (
    DistillationBody,
    DistillationResult,
    RegisteredStudent,
    Student,
)
from preceptor.contract.ids import STUDENT, new_id
from preceptor.contract.labels import LabelSetBody
from preceptor.contract.losses import TransportLoss
from preceptor.contract.recommendations import CacheUse, Timings
from preceptor.contract.teachers import StoredFile, Teacher
from service.core.errors import JobFailed, NotFound, StateUnavailable, StoreFull, StoreUnavailable
from service.core.labels.student_labels import student_of_probe
from service.core.settings import Settings
from service.core.state import State
from service.core.storage import object_keys
from service.core.storage.probe_file import ProbeData
from worker.distillation.distill import distill
from worker.distillation.inputs import Recipe, TeacherSignal, TrainingData
from worker.distillation.result import Outcome
from worker.distillation.training.trainer import TrainingStopped
from worker.label_space import LabelSpace, without_gaps
from worker.ranking.estimators.registry import ESTIMATORS
from worker.teachers.errors import TeacherUnusable

from .context import JobContext, Stopped
from .label_encoders import CheckedEncoder, Encoders
from .observability.mlflow import Tracked
from .probe_use import warnings_of_test
from .teacher_access import (
    ContextCache,
    LoadedTeachers,
    OutputsOf,
    outputs_input,
    probe_data,
    student_targets,
    teacher_folder,
)


async def hand_over(context: JobContext, name: str, labels: list[str], outcome: Outcome, folder: Path) -> Student:
    """Store a student, its files first, and complete its teacher's audit entry.

    Parameters
    ----------
    folder
        The student's files; they are moved.

    Raises
    ------
    Stopped
        Another worker has taken the job over.
    """
    state, id = context.state, new_id(STUDENT)
    await state.jobs.leases.note_student(context.job_id, context.fence, id)
    try:
        artifacts = await _keep(state, id, outcome, folder)
        # Checked before and after the write: a worker that took the job over may have cleaned up in between.
        await _require_own(context)
        student = Student(
            id=id,
            distillation=context.job_id,
            name=name,
            labels=labels,
            artifacts=artifacts,
            accuracy=outcome.with_teacher.mean,
            gain=outcome.gain,
            verdict=outcome.verdict,
            created_at=now(),
        )
        await state.students.put(student)
        await _require_own(context)
    except BaseException:
        with suppress(StateUnavailable, StoreUnavailable, StoreFull):
            await state.students.delete(id)
        raise
    await _audit(state, context.job_id, outcome)
    return student


async def _require_own(context: JobContext) -> None:
    if await context.state.jobs.leases.renew(context.job_id, context.fence) == "lost":
        raise Stopped("lost")


async def _audit(state: State, id: str, outcome: Outcome) -> None:
    """Complete the audit's entry of a distillation from one recommended teacher."""
    entry = await state.audits.get(id)
    if entry is None:
        return
    directions = {name: ESTIMATORS[name].higher_is_better for name in entry.scores if name in ESTIMATORS}
    found = {
        "higher_is_better": {**directions, **entry.higher_is_better},
        "accuracy": outcome.with_teacher.mean,
        "gain": outcome.gain,
    }
    await state.audits.put(entry.model_copy(update=found))


async def _keep(state: State, id: str, outcome: Outcome, folder: Path) -> list[StoredFile]:
    """Move the student's files into the store."""
    kept: list[StoredFile] = []
    for path in sorted({*outcome.artifacts, folder / "teacher.json"}):
        if not path.is_file():
            continue
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
        kept.append(StoredFile(name=path.name, size=path.stat().st_size, sha256=digest.hexdigest()))
        await state.store.adopt(object_keys.student_artifact(id, path.name), path)
    return kept


_REPORT_EVERY: Final = 2.0
"""Seconds between two progress events of one teacher's run, so that a waiting caller sees progress."""


@dataclass(frozen=True)
class _Inputs:
    """All inputs of the thread, loaded before it starts."""

    body: DistillationBody
    labels: LabelSetBody
    data: ProbeData
    transfer: ProbeData | None
    test: ProbeData | None
    teachers: list[Teacher]
    folders: dict[str, tuple[Path, Path | None, Path | None]]
    start_from: Path | None


class Distiller:
    """Distils students. Keeps the encoder and loaded teachers between jobs."""

    def __init__(self, settings: Settings, kept: LoadedTeachers, encoders: Encoders) -> None:
        self._settings = settings
        self._kept = kept
        self._encoders = encoders

    async def distil(self, context: JobContext, request: dict[str, Any]) -> DistillationResult:
        """Train a student and store it.

        Raises
        ------
        JobFailed, NotFound
        Stopped
        """
        started = time.perf_counter()
        state = context.state
        inputs = await _load(state, DistillationBody.model_validate(request))
        loaded = time.perf_counter()
        folder = Path(tempfile.mkdtemp(prefix="student-", dir=state.workplace))
        tracked = Tracked(self._settings, context, inputs.body, inputs.teachers)
        try:
            outcome, use, asked = await context.compute(self._run, context, inputs, folder, tracked)
            name = inputs.body.name or f"student of {inputs.teachers[0].name}"
            student = await hand_over(context, name[:120], inputs.labels.labels, outcome, folder)
            tracked.succeeded(student.id, outcome)
        except BaseException as error:
            tracked.broke_off(error)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return DistillationResult(
            student=student.id,
            student_labels=inputs.labels.labels,
            teachers=[teacher.id for teacher in inputs.teachers],
            with_teacher=outcome.with_teacher,
            without_teacher=outcome.without_teacher,
            gain=outcome.gain,
            verdict=outcome.verdict,
            advice=outcome.advice,
            warnings=await warnings_of_test(state, inputs.body, inputs.teachers),
            weight=outcome.weight,
            weights_tried=outcome.weights_tried,
            test_items=outcome.test_items,
            history=outcome.history,
            artifacts=student.artifacts,
            settings=outcome.settings,
            timings=Timings(
                queued=await state.jobs.records.waited(context.job_id),
                total=round(time.perf_counter() - started, 6),
                stages={"load": round(loaded - started, 6), "teachers": round(asked, 6), **outcome.stages},
                caches={"outputs": use},
            ),
        )

    def _run(
        self, context: JobContext, inputs: _Inputs, folder: Path, tracked: Tracked
    ) -> tuple[Outcome, CacheUse, float]:
        started = time.perf_counter()
        outputs = OutputsOf(context, self._kept)
        space = LabelSpace(CheckedEncoder(self._encoders.get(None), context.check), ContextCache(context, "cost"))
        signals = [
            self._signal(context, inputs, teacher, outputs, space, number)
            for number, teacher in enumerate(inputs.teachers)
        ]
        asked = time.perf_counter() - started
        body = inputs.body
        data = TrainingData(
            items=inputs.data,
            labels=student_targets(inputs.data, inputs.labels.labels, body.data),
            label_names=inputs.labels.labels,
            transfer=inputs.transfer,
            test=inputs.test,
            test_labels=None
            if inputs.test is None
            else student_targets(inputs.test, inputs.labels.labels, str(body.test)),
            digests={
                name: id
                for name, id in (("data", body.data), ("transfer", body.transfer), ("test", body.test))
                if id is not None
            },
        )
        try:
            outcome = distill(
                Recipe.of(body),
                data,
                signals,
                on_event=tracked.emit,
                should_stop=context.should_stop,
                folder=folder,
                device=_device(self._settings.device),
                threads=self._settings.threads,
                processes=_processes(self._settings),
                start_from=inputs.start_from,
                checkpoint=context,
            )
        except TrainingStopped:
            context.check()
            raise
        return outcome, outputs.use, asked

    def _signal(
        self,
        context: JobContext,
        inputs: _Inputs,
        teacher: Teacher,
        outputs: OutputsOf,
        space: LabelSpace,
        number: int,
    ) -> TeacherSignal:
        running = f"running {teacher.name} ({number + 1} of {len(inputs.teachers)})"
        context.progress(0.0, running)
        reported = time.perf_counter()

        def on_batch(done: int) -> None:
            nonlocal reported
            if time.perf_counter() - reported >= _REPORT_EVERY:
                reported = time.perf_counter()
                context.progress(0.0, f"{running}, {done} items done")

        folder, on_data, on_transfer = inputs.folders[teacher.id]
        body = inputs.body
        try:
            labelled, _ = outputs.over(teacher, folder, on_data, body.data, inputs.data, on_batch)
            on_transfer_items = None
            if inputs.transfer is not None:
                on_transfer_items, _ = outputs.over(
                    teacher, folder, on_transfer, str(body.transfer), inputs.transfer, on_batch
                )
        except TeacherUnusable as error:
            context.teacher_failures.append("unusable")
            raise JobFailed(f"{teacher.name} ({teacher.id}) cannot teach this student: {error.detail}") from error
        names = LabelSetBody(labels=teacher.labels or [])
        cost = self._name_cost(context, teacher, names, inputs, space)
        return TeacherSignal(
            name=teacher.name,
            labels=names.labels,
            labelled_logits=labelled.logits,
            name_cost=cost,
            transfer_logits=None if on_transfer_items is None else on_transfer_items.logits,
            labelled_features=labelled.features,
            transfer_features=None if on_transfer_items is None else on_transfer_items.features,
            digest=teacher.digest or "",
            id=teacher.id,
        )

    def _name_cost(
        self, context: JobContext, teacher: Teacher, names: LabelSetBody, inputs: _Inputs, space: LabelSpace
    ) -> NDArray[np.float32]:
        """Ground cost by names. Unknown names are near no class, and an event reports them; names only is an error."""
        loss = inputs.body.loss
        if isinstance(loss, TransportLoss) and loss.ground_cost == "names":
            return space.cost(names, inputs.labels)[0]
        known, _ = space.known_cost(names, inputs.labels)
        gaps = np.isnan(known)
        if gaps.any():
            unknown = [label for column, label in enumerate(inputs.labels.labels) if gaps[:, column].all()]
            if not gaps.all():
                unknown += [label for row, label in enumerate(names.labels) if gaps[row].all()]
            message = (
                f"{teacher.name}: the label encoder knows no word of {', '.join(dict.fromkeys(unknown[:8]))}"
                f"{' and others' if len(unknown) > 8 else ''}, or of the other side: by name no class is near them, "
                "and the labelled items decide"
            )
            context.emit("log", {"message": message})
        return without_gaps(known)


async def _load(state: State, body: DistillationBody) -> _Inputs:
    data = await probe_data(state, body.data)
    transfer = None if body.transfer is None else await probe_data(state, body.transfer)
    test = None if body.test is None else await probe_data(state, body.test)
    given = body.labels if isinstance(body.labels, LabelSetBody) else None
    labels = student_of_probe(given, data.label_names, body.data)
    teachers: list[Teacher] = []
    folders: dict[str, tuple[Path, Path | None, Path | None]] = {}
    for id in body.teachers or []:
        teacher = await state.teachers.get(id)
        if teacher is None:
            raise NotFound(f"The teacher {id} was deleted while the job waited")
        folder, on_data = await outputs_input(state, teacher, body.data)
        on_transfer = None if body.transfer is None else (await outputs_input(state, teacher, body.transfer))[1]
        teachers.append(teacher)
        folders[id] = (folder, on_data, on_transfer)
    start_from = None
    if isinstance(body.student, RegisteredStudent):
        base = await state.teachers.get(body.student.teacher)
        if base is None:
            raise NotFound(f"The model {body.student.teacher} to start from was deleted while the job waited")
        start_from = await teacher_folder(state, base)
    return _Inputs(body, labels, data, transfer, test, teachers, folders, start_from)


def _device(setting: str) -> str:
    if setting != "auto":
        return setting
    return "cuda" if torch.cuda.is_available() else "cpu"


def _processes(settings: Settings) -> int:
    """Number of processes that train a student together.

    Raises
    ------
    JobFailed
        More processes than cards, or more than one on a named card.
    """
    wanted, device = settings.training_processes, _device(settings.device)
    cards = torch.cuda.device_count() if device == "cuda" else 1
    if wanted == 0:
        return max(1, cards)
    if wanted > 1 and device.startswith("cuda") and (device != "cuda" or wanted > cards):
        raise JobFailed(
            f"PRECEPTOR_TRAINING_PROCESSES is {wanted}, and the worker computes on {device!r}, {cards} of its kind; "
            "the operator sets it to the number of GPUs, with PRECEPTOR_DEVICE=cuda or auto"
        )
    return wanted
