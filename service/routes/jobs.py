"""`/v1/jobs`: all jobs, their events, their cancellation."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request, Response

from preceptor.contract.ids import REQUEST, JobId
from preceptor.contract.jobs import Job, JobKind, JobStatus, JobSummary
from preceptor.contract.page import Page
from preceptor.contract.validation_messages import EVENT_ID_PATTERN
from service.core.errors import NotFound
from service.http.dependencies import StateOf
from service.http.event_streams import EVENT_SCHEMA, EventStreamResponse, EventStreams
from service.http.idempotency import OnceOf
from service.http.job_responses import whole
from service.http.problems import problems
from service.http.responses import Cursor, IfNoneMatch, Limit, conditional, document, page
from service.http.stream_limit import StreamOf
from service.http.strict_route import StrictRoute

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

_EVENTS: Final = (
    "Server-sent events, each with `id`, `event` (`status`, `progress`, `teacher`, `epoch`, `log`) and `data`, a "
    "`JobEvent` as JSON. The stream ends after the `status` event with which the job ends"
)


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
    responses={200: {"model": JobSummary}, **problems(404, 507)},
)
async def cancel_job(id: JobId, state: StateOf, once: OnceOf) -> Response:
    """Ask for the end of a job. 200 where it has ended, 202 while it stops at its next step."""

    async def act(_: str) -> Response:
        await _known(id, state)
        summary = await state.jobs.cancel(id)
        if summary is None:
            raise NotFound(f"There is no job {id}")
        if summary.status.terminal:
            return document(summary)
        return document(summary, status=202, headers={"Location": f"/v1/jobs/{id}", "Retry-After": "1"})

    return await once.run(state, REQUEST, bytes, act)


@router.get(
    "/{id}/events",
    status_code=200,
    response_class=EventStreamResponse,
    responses={
        200: {"description": _EVENTS, "content": {EventStreamResponse.media_type: {"itemSchema": EVENT_SCHEMA}}},
        **problems(404, 429),
    },
)
async def job_events(
    request: Request,
    known: Annotated[JobSummary, Depends(_known)],
    state: StateOf,
    _held: StreamOf,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            max_length=39,
            pattern=EVENT_ID_PATTERN,
            description="Go on behind this event; from the first where absent",
        ),
    ] = None,
) -> Response:
    """Follow a job: every event so far (or behind `Last-Event-ID`), then each new one, until it has ended."""
    if request.method == "HEAD":
        return Response(media_type=EventStreamResponse.media_type)
    streams: EventStreams = request.app.state.event_streams
    return EventStreamResponse(streams.follow(state, known.id, last_event_id))
