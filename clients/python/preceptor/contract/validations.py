"""Validations: a job that loads a teacher and decides whether it may be used."""

from .base import Answer, Body
from .ids import TeacherId
from .jobs import Job
from .teachers import TeacherStatus


class ValidationBody(Body):
    """Which teacher to validate."""

    teacher: TeacherId


class ValidationResult(Answer):
    """The verdict."""

    status: TeacherStatus
    reason: str | None = None
    seconds: float


Validation = Job[ValidationBody, ValidationResult]
"""A validation job."""
