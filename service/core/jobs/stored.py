"""How a job lies in the store and in Redis: its keys, its documents, its record as the contract shows it."""

from datetime import UTC, datetime
from typing import Any, Final, cast

from pydantic import BaseModel

from preceptor.contract.jobs import JobKind, JobStatus, JobSummary, Progress
from preceptor.contract.problem import Problem

from ..lanes import lane_of
from ..redis import keys
from ..storage.documents import order_member

JOBS: Final = "jobs"


class StoredRequest(BaseModel):
    """What the store keeps of an accepted job. `contract`: the lowest version of the contract that reads `request`."""

    id: str
    kind: JobKind
    created_at_ms: int
    request: dict[str, Any]
    caller: str | None = None
    trace: str | None = None
    contract: int = 1
    request_id: str | None = None


class StoredOutcome(BaseModel):
    """What the store keeps of an ended job. Written once and never changed: it is the job's end."""

    status: JobStatus
    error: Problem | None = None
    fence: int | None = None
    started_at_ms: int | None = None
    finished_at_ms: int
    deliveries: int


def folder(id: str) -> str:
    """Prefix of everything in the store that belongs to a job."""
    return f"{JOBS}/{id}/"


def request_key(id: str) -> str:
    """The accepted request."""
    return f"{folder(id)}request.json"


def outcome_key(id: str) -> str:
    """How the job ended."""
    return f"{folder(id)}outcome.json"


def cancel_key(id: str) -> str:
    """Present where someone has asked for the job's end while it ran."""
    return f"{folder(id)}cancel.json"


def delivery_folder(id: str, fence: int) -> str:
    """Prefix of what one delivery writes: no two deliveries ever write the same object."""
    return f"{folder(id)}{fence}/"


def result_key(id: str, fence: int) -> str:
    """The result of one delivery."""
    return f"{delivery_folder(id, fence)}result.json"


def checkpoint_key(id: str, fence: int) -> str:
    """The checkpoint of one delivery."""
    return f"{delivery_folder(id, fence)}checkpoint"


def student_key(id: str, fence: int) -> str:
    """The id of the student that one delivery writes."""
    return f"{delivery_folder(id, fence)}student"


def script_keys(id: str) -> list[str]:
    """The keys that every job script takes."""
    lane = lane_of(id)
    return [
        keys.job(id),
        keys.ACTIVE,
        keys.events(id),
        keys.EXPIRING,
        keys.leases(lane),
        keys.waiting(lane),
        keys.delayed(lane),
        keys.ENDED,
        keys.turns(lane),
        keys.clocks(lane),
    ]


def order_keys(kind: str) -> list[str]:
    """The sorted sets that list a job."""
    return [keys.order(JOBS), keys.order(f"{JOBS}:{kind}")]


def member_of(stored: StoredRequest) -> str:
    """A job's member in those sets."""
    return order_member(stored.created_at_ms, stored.id)


def summary_of(fields: dict[str, str]) -> JobSummary:
    """The record as the contract shows it."""
    progress = fields.get("progress")
    return JobSummary(
        id=fields["id"],
        kind=cast(JobKind, fields["kind"]),
        status=JobStatus(fields["status"]),
        created_at=_moment(fields["created_at"]),
        started_at=_moment(fields["started_at"]) if "started_at" in fields else None,
        finished_at=_moment(fields["finished_at"]) if "finished_at" in fields else None,
        deliveries=int(fields["deliveries"]),
        progress=Progress.model_validate_json(progress) if progress else None,
        error=Problem.model_validate_json(fields["error"]) if fields.get("error") else None,
    )


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
