"""Answers about jobs: the whole job, and how a POST waits for its end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import cast

from starlette.responses import Response

from preceptor.contract.job_kinds import JOB_KINDS
from preceptor.contract.jobs import JobStatus, JobSummary
from service.core.errors import NotFound, StateUnavailable, StoreUnavailable
from service.core.state import State
from service.http.entity_tags import entity_tag

from .responses import document


async def whole(state: State, id: str) -> bytes:
    """A job with its request and result, as JSON.

    Raises
    ------
    NotFound
    """
    known = state.recent.get(id)
    if known is not None:
        return known
    summary = await state.jobs.get(id)
    if summary is None:
        raise NotFound(f"There is no job {id}. GET /v1/jobs lists them")
    return await _whole(state, summary)


async def _whole(state: State, summary: JobSummary) -> bytes:
    request = await state.jobs.records.request_text(summary.id)
    # Only where this very summary says so: a job that ends at this moment must not be "running" with a result.
    result = await state.jobs.records.result(summary.id) if summary.status == JobStatus.SUCCEEDED else None
    # The result was validated when it was written; large ones are not parsed again.
    head = summary.model_dump_json()[:-1]
    document = b"".join([head.encode(), b',"request":', request or b"null", b',"result":', result or b"null", b"}"])
    complete = request is not None and (result is not None or summary.status != JobStatus.SUCCEEDED)
    if summary.status == JobStatus.SUCCEEDED and not complete:
        raise NotFound(f"The job {summary.id} has succeeded, and what it found is gone: it has expired, or was removed")
    if summary.status.terminal and complete:
        state.recent.put(summary.id, document, entity_tag(document))
    return document


def listening(state: State, id: str) -> AsyncGenerator[None]:
    """The job's wake-ups, to be closed at the end: the listener then goes at once, not with the next collection."""
    return cast("AsyncGenerator[None]", state.events.wake_ups(id))


async def accepted(state: State, summary: JobSummary, wait: float) -> Response:
    """The answer to the POST of a job: 200 when it ends within `wait` seconds, else 202 with its address.

    The job is accepted already. When Redis goes away from here on the answer is 202 with what was known: an
    error would say that nothing was accepted.
    """
    if wait > 0:
        summary = await _ended(state, summary, wait)
    headers = {"Location": f"/v1/{JOB_KINDS[summary.kind].path}/{summary.id}"}
    if wait > 0:
        headers["Preference-Applied"] = f"wait={wait:.0f}"
    if summary.status.terminal:
        with suppress(StateUnavailable, StoreUnavailable):
            return document(await _whole(state, summary), headers=headers)
        summary = summary.model_copy(update={"status": JobStatus.RUNNING, "finished_at": None})
    return document(await _whole(state, summary), status=202, headers={**headers, "Retry-After": "1"})


async def resumed(state: State, wait: float, id: str) -> Response | None:
    """The answer to the POST of a job that was accepted by an earlier try; None where it was not."""
    summary = await state.jobs.get(id)
    return None if summary is None else await accepted(state, summary, wait)


async def _ended(state: State, summary: JobSummary, wait: float) -> JobSummary:
    """The job's last known state, at its end or after `wait` seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(wait), aclosing(listening(state, summary.id)) as wake_ups:
            async for _ in wake_ups:
                with suppress(StateUnavailable):
                    summary = await state.jobs.get(summary.id) or summary
                if summary.status.terminal:
                    break
    return summary
