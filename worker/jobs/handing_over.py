"""Puts a trained student into the store; nothing of it stays where another worker has taken the job over."""

import hashlib
from contextlib import suppress
from pathlib import Path

from preceptor.contract.base import now
from preceptor.contract.distillations import Student
from preceptor.contract.ids import STUDENT, new_id
from preceptor.contract.teachers import StoredFile
from service.core.errors import StateUnavailable, StoreFull, StoreUnavailable
from service.core.state import State
from service.core.storage import object_keys
from worker.distillation.result import Outcome
from worker.ranking.estimators.registry import ESTIMATORS

from .context import JobContext, Stopped


async def hand_over(context: JobContext, name: str, labels: list[str], outcome: Outcome, folder: Path) -> Student:
    """Store a student, its files first, and what was learnt of its teachers.

    Parameters
    ----------
    folder
        Its files; they are moved.

    Raises
    ------
    Stopped
        Another worker has taken the job over.
    """
    state, id = context.state, new_id(STUDENT)
    await state.jobs.note_student(context.job_id, context.fence, id)
    try:
        artifacts = await _keep(state, id, outcome, folder)
        # Asked before and after it is written: who has taken the job over may have swept in between.
        await _require_own(context)
        student = Student(
            id=id, distillation=context.job_id, name=name, labels=labels, artifacts=artifacts, created_at=now()
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
    if await context.state.jobs.renew(context.job_id, context.fence) == "lost":
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
