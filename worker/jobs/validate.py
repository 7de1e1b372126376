"""Runs a validation: load the teacher, judge it, write the verdict into its record."""

import time
from pathlib import Path
from typing import Any

from preceptor.contract.base import now
from preceptor.contract.labels import LabelSetBody
from preceptor.contract.teachers import Teacher, TeacherFingerprint, TeacherStatus
from preceptor.contract.validations import ValidationBody, ValidationResult
from service.core.errors import JobFailed, NotFound
from service.core.labels import label_sets
from service.core.settings import Settings
from worker.teachers.outputs import RunStopped
from worker.teachers.validation import Verdict, validate_teacher

from .context import JobContext, Stopped
from .teacher_access import teacher_folder


async def validate(context: JobContext, request: dict[str, Any], settings: Settings) -> ValidationResult:
    """Decide whether a teacher may be used.

    Raises
    ------
    NotFound, JobFailed
        It was deleted meanwhile, or its files were changed.
    Stopped
    """
    started = time.perf_counter()
    state = context.state
    id = ValidationBody.model_validate(request).teacher
    teacher = await state.teachers.get(id)
    if teacher is None:
        raise NotFound(f"The teacher {id} was deleted before its validation")
    folder = await teacher_folder(state, teacher)
    verdict = await context.compute(_verdict, context, teacher, folder, settings)
    label_set = teacher.label_set
    if verdict.labels is not None and teacher.expires_at is None:
        label_set = (await label_sets.register(state, LabelSetBody(labels=verdict.labels)))[0].id
    async with state.teachers.lock(id):
        files, teacher = teacher.files, await state.teachers.get(id)
        if teacher is None:
            raise NotFound(f"The teacher {id} was deleted during its validation")
        if teacher.files != files:
            raise JobFailed(f"The files of {id} were changed while they were validated. Validate it again")
        if await state.jobs.leases.renew(context.job_id, context.fence) == "lost":
            raise Stopped("lost")
        judged = teacher.model_copy(
            update={
                "status": verdict.status,
                "reason": verdict.reason,
                "labels": verdict.labels or teacher.labels,
                "label_set": label_set,
                "parameters": verdict.parameters,
                "digest": verdict.digest,
                "output": verdict.output,
                "warnings": verdict.warnings,
                "fingerprint": None
                if verdict.fingerprint is None
                else TeacherFingerprint.model_validate(verdict.fingerprint),
                "updated_at": now(),
            }
        )
        if teacher.expires_at is None:  # A check stays as it is: it must never be ready for use.
            await state.teachers.put(judged)
    if verdict.status == TeacherStatus.REJECTED:
        context.teacher_failures.append("rejected")
    return ValidationResult(
        status=verdict.status,
        reason=verdict.reason,
        seconds=round(time.perf_counter() - started, 3),
        teacher=None if teacher.expires_at is None else judged,
    )


def _verdict(context: JobContext, teacher: Teacher, folder: Path, settings: Settings) -> Verdict:
    try:
        return validate_teacher(
            teacher,
            folder,
            device=settings.device,
            threads=settings.threads or None,
            should_stop=context.should_stop,
        )
    except RunStopped:
        context.check()
        raise
