"""Jobs: what every long-running request has in common."""

from enum import StrEnum
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import Field

from .base import Answer, Moment
from .ids import JobKind as JobKind
from .problem import Problem

Request = TypeVar("Request")
Result = TypeVar("Result")


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    CANCELED = "canceled"
    FAILED = "failed"
    SUCCEEDED = "succeeded"

    @property
    def terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self in (JobStatus.CANCELED, JobStatus.FAILED, JobStatus.SUCCEEDED)


Priority = Literal["low", "normal", "high"]
TURNS: Final = "Callers take turns in a lane; `high` goes before the caller's own other jobs, `low` behind everybody's"


class Progress(Answer):
    """How far a running job is."""

    fraction: float = Field(ge=0, le=1)
    message: str = ""
    remaining_seconds: float | None = None


class JobSummary(Answer):
    """A job without its request and result."""

    id: str
    kind: JobKind
    status: JobStatus
    created_at: Moment
    started_at: Moment | None = None
    finished_at: Moment | None = None
    deliveries: int = Field(default=0, description="How often a worker has taken the job")
    progress: Progress | None = None
    error: Problem | None = None


class Job(JobSummary, Generic[Request, Result]):
    """A job with its request and, once it has succeeded, its result."""

    request: Request
    result: Result | None = None


class JobEvent(Answer):
    """One entry of a job's event log, as it crosses the event stream.

    `event` is `status`, `progress`, `log`, or a name of the job's own (`epoch`, `teacher`).
    """

    id: str = Field(description="Pass as `Last-Event-ID` to resume behind this event")
    event: str
    at: Moment
    data: dict[str, Any] = Field(default_factory=dict[str, Any])
