"""Registering a folder as a teacher, in one procedure: create, upload, validate."""

import contextlib
from typing import Any

from ..contract.jobs import Job
from ..contract.teachers import Teacher
from ..errors import PreceptorError
from .calls import send
from .effects import Procedure
from .routes import jobs, teachers
from .settings import Settings
from .teacher_folder import TeacherFolder
from .transfer import OnTransfer, Upload

Registered = tuple[Teacher, Job[Any, Any] | None]


def register(settings: Settings, folder: TeacherFolder, progress: OnTransfer | None) -> Procedure[Registered]:
    """Create a teacher and upload its files -> the teacher and its validation job (None where it needs none).

    A teacher whose files were refused is deleted again: half a teacher helps nobody.
    """
    teacher = yield from send(settings, teachers.create(folder.body, None))
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
