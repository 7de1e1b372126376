"""Jobs: the common part of all long-running requests."""

from enum import StrEnum
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import Field

from .base import Answer, Moment
from .ids import JobKind as JobKind
from .problem import Problem

Request = TypeVar("Request")
Result = TypeVar("Result")


class JobStatus(StrEnum):
    """State of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    CANCELED = "canceled"
    FAILED = "failed"
    SUCCEEDED = "succeeded"

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return self in (JobStatus.CANCELED, JobStatus.FAILED, JobStatus.SUCCEEDED)


Priority = Literal["low", "normal", "high"]
TURNS: Final = (
    "Callers take turns in a lane. `high`: before the caller's other jobs; `low`: after the jobs of all callers"
)


class Progress(Answer):
    """Progress of a running job."""

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
    deliveries: int = Field(default=0, description="Number of times that the job was handed to a worker")
    progress: Progress | None = None
    error: Problem | None = None


class Job(JobSummary, Generic[Request, Result]):
    """A job with its request and, after success, its result."""

    request: Request
    result: Result | None = None


class JobEvent(Answer):
    """One entry of a job's event log, as sent on the event stream.

    `event` is `status`, `progress`, `log`, or an event of the job's kind (`epoch`, `teacher`).
    """

    id: str = Field(description="Send as `Last-Event-ID` to resume after this event")
    event: str
    at: Moment
    data: dict[str, Any] = Field(default_factory=dict[str, Any])
