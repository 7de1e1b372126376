"""`/v1/jobs`"""

from typing import Any, Final

from ...contract.distillations import Distillation
from ...contract.ids import DISTILLATION, RECOMMENDATION, VALIDATION, is_id
from ...contract.jobs import Job, JobSummary
from ...contract.page import Page
from ...contract.recommendations import Recommendation
from ...contract.validations import Validation
from ...errors import invalid
from ..calls import Call, at, call, model
from ..effects import Request

_KINDS: Final = {RECOMMENDATION: Recommendation, DISTILLATION: Distillation, VALIDATION: Validation}


def get(job: str) -> Call[Job[Any, Any]]:
    """One job, read as what its id says it is."""
    for prefix, kind in _KINDS.items():
        if is_id(prefix, job):
            return call("GET", at("jobs", job), model(kind))
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
