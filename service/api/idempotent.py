"""Idempotency-Key: a POST repeated with the same key gets the same answer, and nothing happens twice."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import structlog
from fastapi import Depends, Header, Request, Response

from preceptor.contract.ids import new_id
from service.state.caller import CALLER
from service.state.errors import PreceptorError, StateUnavailable
from service.state.idempotency import StoredAnswer
from service.state.state import State

from .wording import KEY_PATTERN

Act = Callable[[str], Awaitable[Response]]
log = structlog.stdlib.get_logger(__name__)
_REMADE: Final = ("preference-applied",)
_KEPT_HEADERS: Final = ("location", "retry-after", "etag", "content-type", "cache-control", "preference-applied")


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
        self, state: State, prefix: str, content: bytes | str, act: Act, remake: Act | None = None
    ) -> Response:
        """Act once.

        Parameters
        ----------
        prefix
            Prefix of the id that is reserved for the request.
        content
            What makes two requests equal, besides method, path and query.
        act
            Does the work under the reserved id. Doing it twice under one id must change nothing.
        remake
            Makes an answer of status 200 again from its resource, where that cannot change; else the body is kept.

        Raises
        ------
        IdempotencyMismatch
        """
        if self._key is None:
            return await act(new_id(prefix))
        caller = CALLER.get()
        scope = f"{'' if caller is None else caller.key} {self._request.method} {self._request.url.path}"
        body = content.encode() if isinstance(content, str) else content
        fingerprint = hashlib.sha256(self._request.url.query.encode() + b"\0" + body).hexdigest()
        begun = await state.idempotency.begin(scope, self._key, fingerprint, new_id(prefix))
        if begun.answer is not None:
            stored = begun.answer
            if stored.body is None and remake is not None:
                response = await remake(begun.id)
                response.headers.update({name: stored.headers[name] for name in _REMADE if name in stored.headers})
            else:
                response = Response(stored.body, status_code=stored.status, headers=stored.headers)
            response.headers["Idempotency-Replayed"] = "true"
            return response
        try:
            response = await act(begun.id)
        except PreceptorError as error:
            # Refused: nothing was done, and the request may be corrected under its key. After a failure of ours
            # a part may have been done: the key keeps its id, so that the next try completes that part.
            if error.status < 500:
                await state.idempotency.abandon(scope, self._key)
            raise
        remade = remake is not None and response.status_code == 200
        answer = StoredAnswer(
            status=response.status_code,
            headers={name: value for name, value in response.headers.items() if name in _KEPT_HEADERS},
            body=None if remade else bytes(response.body).decode(),
        )
        try:
            await state.idempotency.complete(scope, self._key, answer)
        except StateUnavailable:
            # It is done. The key still holds the id: a replay does it again under this id, and so changes nothing.
            log.warning("answer not kept for its Idempotency-Key", path=self._request.url.path)
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
