"""Validations: a job that loads a teacher and decides whether it may be used."""

from pydantic import Field

from .base import Answer, Body
from .ids import TeacherId
from .jobs import Job
from .teachers import Teacher, TeacherStatus


class ValidationBody(Body):
    """Which teacher to validate."""

    teacher: TeacherId


class ValidationResult(Answer):
    """The verdict."""

    status: TeacherStatus
    reason: str | None = None
    seconds: float
    teacher: Teacher | None = Field(
        default=None, description="Of a check (`?check=true`): the teacher that a registration would have made"
    )


Validation = Job[ValidationBody, ValidationResult]
"""A validation job."""
