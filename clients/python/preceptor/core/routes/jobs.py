"""`/v1/jobs`"""

from typing import Any

from ...contract.job_kinds import JOB_KINDS, kind_of
from ...contract.jobs import Job, JobSummary
from ...contract.page import Page
from ...errors import invalid
from ..calls import Call, at, call, model
from ..effects import Request


def get(job: str) -> Call[Job[Any, Any]]:
    """One job, read as what its id says it is."""
    kind = kind_of(job)
    if kind is not None:
        return call("GET", at("jobs", job), model(JOB_KINDS[kind].job))
    raise invalid(f"{job!r} is not the id of a job; one looks like rec_..., dst_... or val_... with 26 characters")


def page(
    limit: int, cursor: str | None, *, kind: str | None = None, status: str | None = None
) -> Call[Page[JobSummary]]:
    query = {"kind": kind, "status": status, "limit": limit, "cursor": cursor}
    return call("GET", "/v1/jobs", model(Page[JobSummary]), query=query)


def cancel(job: str) -> Call[JobSummary]:
    return call("POST", at("jobs", job, "cancel"), model(JobSummary))


def events(job: str, last_event_id: str | None, read_timeout: float) -> Request:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    return Request(method="GET", path=at("jobs", job, "events"), headers=headers, read_timeout=read_timeout)
