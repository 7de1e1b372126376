"""Answers about jobs: the whole job, and how a POST waits for its end."""

import asyncio
import json

from starlette.responses import Response

from preceptor.contract.jobs import JobSummary
from service.state.errors import NotFound
from service.state.state import State

from .documents import document

_PATHS = {"recommendation": "recommendations", "distillation": "distillations", "validation": "jobs"}


async def whole(state: State, id: str) -> bytes:
    """A job with its request and result, as JSON.

    Raises
    ------
    NotFound
    """
    summary = await state.jobs.get(id)
    if summary is None:
        raise NotFound(f"There is no job {id}. GET /v1/jobs lists them")
    request, result = await asyncio.gather(state.jobs.request(id), state.jobs.result(id))
    # The result was validated when it was written; large ones are not parsed again.
    head = summary.model_dump_json()[:-1]
    asked = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
    return b"".join([head.encode(), b',"request":', asked, b',"result":', result or b"null", b"}"])


async def accepted(state: State, summary: JobSummary, wait: float) -> Response:
    """The answer to the POST of a job: 200 when it ends within `wait` seconds, else 202 with its address."""
    if wait > 0 and not summary.status.terminal:
        try:
            async with asyncio.timeout(wait):
                async for _ in state.events.wake_ups(summary.id):
                    summary = await state.jobs.get(summary.id) or summary
                    if summary.status.terminal:
                        break
        except TimeoutError:
            pass
    headers = {"Location": f"/v1/{_PATHS[summary.kind]}/{summary.id}"}
    if wait > 0:
        headers["Preference-Applied"] = f"wait={wait:.0f}"
    body = await whole(state, summary.id)
    if summary.status.terminal:
        return document(body, headers=headers)
    return document(body, status=202, headers={**headers, "Retry-After": "1"})
