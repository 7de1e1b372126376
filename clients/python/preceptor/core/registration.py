"""Registering a folder as a teacher, in one procedure: create, upload, validate."""

import contextlib
from typing import Any

from ..contract.jobs import Job
from ..contract.teachers import Teacher
from ..errors import PreceptorError
from .calls import send
from .effects import Procedure
from .files.teacher_folder import TeacherFolder
from .files.transfer import OnTransfer, Upload
from .routes import jobs, teachers
from .settings import Settings

Registered = tuple[Teacher, Job[Any, Any] | None]


def register(
    settings: Settings, folder: TeacherFolder, progress: OnTransfer | None, *, check: bool = False
) -> Procedure[Registered]:
    """Create a teacher and upload its files -> the teacher and its validation job (None if it needs none).

    A teacher whose files were rejected is deleted again.

    Parameters
    ----------
    check
        Whether the teacher is only checked: never listed or ranked, and to be deleted by the caller.
    """
    teacher = yield from send(settings, teachers.create(folder.body, None, check=check))
    try:
        for path in folder.files:
            file = Upload.of(path, path.name, progress)
            yield from send(settings, teachers.upload(teacher.id, file))
        if folder.files:
            return teacher, (yield from send(settings, teachers.validate(teacher.id)))
    except (PreceptorError, OSError):
        with contextlib.suppress(PreceptorError):
            yield from send(settings, teachers.delete(teacher.id))
        raise
    if teacher.validation is None:
        return teacher, None
    return teacher, (yield from send(settings, jobs.get(teacher.validation)))


def removed(settings: Settings, teacher: str) -> Procedure[None]:
    """Delete a teacher that was only checked. If the service cannot be reached, it deletes the teacher itself later."""
    with contextlib.suppress(PreceptorError):
        yield from send(settings, teachers.delete(teacher))
