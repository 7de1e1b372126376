"""`/v1/jobs`: all jobs, their events, their cancellation."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from preceptor.contract.ids import REQUEST, JobId
from preceptor.contract.jobs import Job, JobEvent, JobKind, JobStatus, JobSummary
from preceptor.contract.page import Page
from service.state.errors import NotFound
from service.state.events import ends

from .context import StateOf
from .documents import Cursor, IfNoneMatch, Limit, conditional, document, page
from .idempotent import OnceOf
from .problems import problems
from .waiting import whole

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


async def _known(id: JobId, state: StateOf) -> JobSummary:
    summary = await state.jobs.get(id)
    if summary is None:
        raise NotFound(f"There is no job {id}. GET /v1/jobs lists them")
    return summary


@router.get("", response_model=Page[JobSummary], responses=problems())
async def list_jobs(
    request: Request,
    state: StateOf,
    kind: JobKind | None = None,
    status: JobStatus | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List jobs, newest first."""
    return page(request, *await state.jobs.page(cursor, limit, kind, status))


@router.get("/{id}", response_model=Job[Any, Any], responses={304: {"description": "Not modified"}, **problems(404)})
async def get_job(id: JobId, state: StateOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a job: its request, where it stands, and its result."""
    return conditional(await whole(state, id), if_none_match)


@router.post(
    "/{id}/cancel",
    status_code=202,
    response_model=JobSummary,
    responses={200: {"model": JobSummary}, **problems(404)},
)
async def cancel_job(id: JobId, state: StateOf, once: OnceOf) -> Response:
    """Ask for the end of a job. 200 where it has ended, 202 while it stops at its next step."""

    async def act(_: str) -> Response:
        await _known(id, state)
        summary = await state.jobs.cancel(id)
        if summary is None:
            raise NotFound(f"There is no job {id}")
        return document(summary, status=200 if summary.status.terminal else 202)

    return await once.run(state, REQUEST, b"", act)


@router.get("/{id}/events", response_class=EventSourceResponse, responses=problems(404))
async def job_events(
    known: Annotated[JobSummary, Depends(_known)],
    state: StateOf,
    last_event_id: Annotated[str | None, Header(max_length=41, pattern=r"^\d{1,20}(-\d{1,20})?$")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job: every event so far (or behind `Last-Event-ID`), then each new one, until it has ended."""
    last = last_event_id
    async for _ in state.events.wake_ups(known.id):
        while batch := await state.events.after(known.id, last):
            for event in batch:
                yield _sent(event)
                if ends(event):
                    return
                last = event.id
        summary = await state.jobs.get(known.id)
        if summary is None or summary.status.terminal:
            # Nothing is left in the log: it was read to its end, or has expired or been lost with Redis.
            if summary is not None and last_event_id is None and last is None:
                yield _sent(_last_event(summary))
            return


def _last_event(summary: JobSummary) -> JobEvent:
    at = summary.finished_at or summary.created_at
    return JobEvent(id=f"{int(at.timestamp() * 1000)}-0", event="status", at=at, data={"status": summary.status.value})


def _sent(event: JobEvent) -> ServerSentEvent:
    return ServerSentEvent(id=event.id, event=event.event, raw_data=event.model_dump_json())
