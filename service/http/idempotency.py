"""Idempotency-Key: a POST repeated with the same key gets the same answer, and nothing happens twice."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import structlog
from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from preceptor.contract.ids import new_id
from preceptor.contract.validation_messages import KEY_PATTERN
from preceptor.contract.versions import stored_form
from service.core.api_keys import CALLER
from service.core.async_helpers import LARGE, in_document_thread
from service.core.errors import Conflict, NotFound, PreceptorError, StateUnavailable
from service.core.jobs.idempotency import StoredAnswer
from service.core.state import State

from .bodies import announced_length

Act = Callable[[str], Awaitable[Response]]
Resume = Callable[[str], Awaitable[Response | None]]
log = structlog.stdlib.get_logger(__name__)
_KEPT_BYTES: Final = 16 * 2**10
"""Of an answer's body. Redis holds every answer for a day, and a label set may have megabytes."""
_REMADE: Final = ("location", "retry-after", "cache-control", "preference-applied")
"""What an answer that is made again has from the first one, besides its status."""
_KEPT_HEADERS: Final = ("location", "retry-after", "etag", "content-type", "cache-control", "preference-applied")


def form_of(body: BaseModel) -> str:
    """What makes two bodies equal, also to a newer service, whose bodies have more fields."""
    return json.dumps(stored_form(body)[0], separators=(",", ":"), sort_keys=True)


def is_large(response: Response) -> bool:
    """Whether the body of an answer has more bytes than are kept."""
    return len(response.body) > _KEPT_BYTES


def is_large_or_final(response: Response) -> bool:
    """The same for jobs; those that have ended never change, so they are not kept at any size."""
    return response.status_code == 200 or is_large(response)


class Once:
    """One request, with its key if it has one."""

    def __init__(self, request: Request, key: str | None) -> None:
        self._request = request
        self._key = key

    @property
    def keyed(self) -> bool:
        """Whether the request brought a key."""
        return self._key is not None

    async def run(
        self,
        state: State,
        prefix: str,
        content: Callable[[], bytes | str],
        act: Act,
        remake: Act | None = None,
        resume: Resume | None = None,
        forget: Callable[[Response], bool] = is_large,
    ) -> Response:
        """Act once.

        Parameters
        ----------
        prefix
            Prefix of the id that is reserved for the request.
        content
            Gives what makes two requests equal, besides method, path and query. It is not asked where there is no key.
        act
            Does the work under the reserved id. Doing it twice under one id must change nothing.
        remake
            Makes the answer again from the id of its resource. Its status and headers stay those of the first
            answer; the resource may have changed since.
        resume
            Gives the answer where an earlier try was accepted, and could not say so: the request is not looked at
            again, since what it needs may be gone, or the lane full. None where it was not accepted.
        forget
            Whether to make an answer again, where that is possible, in the place of keeping its body.

        Raises
        ------
        IdempotencyMismatch
        Conflict
            The answer is to be made again, and its resource was removed.
        """
        if self._key is None:
            return await act(new_id(prefix))
        caller = CALLER.get()
        scope = f"{'' if caller is None else caller.key} {self._request.method} {self._request.url.path}"
        large = announced_length(self._request.headers.get("content-length", "")) > LARGE
        query = self._request.url.query
        fingerprint = await in_document_thread(_fingerprint, query, content) if large else _fingerprint(query, content)
        begun = await state.idempotency.begin(scope, self._key, fingerprint, new_id(prefix))
        if begun.answer is not None:
            response = await _again(begun.answer, begun.id, remake)
            response.headers["Idempotency-Replayed"] = "true"
            return response
        try:
            response = await resume(begun.id) if resume is not None and begun.state == "resumed" else None
            if response is None:
                response = await act(begun.id)
        except PreceptorError as error:
            # Refused: nothing was done, and the request may be corrected under its key. After a failure of ours, now
            # or in an earlier try, a part may have been done: the key keeps its id, so that the next try completes it.
            if error.status < 500 and begun.state == "new":
                await state.idempotency.abandon(scope, self._key, begun.id)
            raise
        remade = remake is not None and forget(response)
        answer = StoredAnswer(
            status=response.status_code,
            headers={name: value for name, value in response.headers.items() if name in _KEPT_HEADERS},
            body=None if remade else bytes(response.body).decode(),
        )
        try:
            await state.idempotency.complete(scope, self._key, begun.id, answer)
        except StateUnavailable:
            # It is done. The key still holds the id: a replay does it again under this id, and so changes nothing.
            log.warning("answer not kept for its Idempotency-Key", path=self._request.url.path)
        return response


def _fingerprint(query: str, content: Callable[[], bytes | str]) -> str:
    body = content()
    return hashlib.sha256(query.encode() + b"\0" + (body.encode() if isinstance(body, str) else body)).hexdigest()


async def _again(stored: StoredAnswer, reserved: str, remake: Act | None) -> Response:
    if stored.body is not None or remake is None:
        return Response(stored.body, status_code=stored.status, headers=stored.headers)
    # What is known by its content has another id than the one that was reserved.
    id = stored.headers.get("location", reserved).rpartition("/")[2]
    try:
        response = await remake(id)
    except NotFound as error:
        raise Conflict(
            f"The answer to this Idempotency-Key showed {id}, which was removed since. Use a new key to make it again"
        ) from error
    response.status_code = stored.status
    response.headers.update({name: stored.headers[name] for name in _REMADE if name in stored.headers})
    return response


async def _once(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Any text; the same key with the same request gives the same answer for 24 hours",
            min_length=1,
            max_length=255,
            pattern=KEY_PATTERN,
        ),
    ] = None,
) -> Once:
    return Once(request, idempotency_key)


OnceOf = Annotated[Once, Depends(_once)]
