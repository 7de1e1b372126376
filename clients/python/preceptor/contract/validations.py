"""Validations: a job that loads a teacher and decides whether it can be used."""

from pydantic import Field

from .base import Answer, Body
from .ids import TeacherId
from .jobs import Job
from .teachers import Teacher, TeacherStatus


class ValidationBody(Body):
    """The teacher to validate."""

    teacher: TeacherId


class ValidationResult(Answer):
    """The outcome of a validation."""

    status: TeacherStatus
    reason: str | None = None
    seconds: float
    teacher: Teacher | None = Field(
        default=None, description="Of a check (`?check=true`): the teacher that a registration would have made"
    )


Validation = Job[ValidationBody, ValidationResult]
"""A validation job."""
