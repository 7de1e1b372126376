"""Idempotency-Key: a POST repeated with the same key gets the same answer, and nothing happens twice."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Header, Request, Response

from preceptor.contract.ids import new_id
from service.state.errors import PreceptorError
from service.state.idempotency import StoredAnswer
from service.state.state import State

Act = Callable[[str], Awaitable[Response]]
_KEPT_HEADERS: Final = ("location", "retry-after", "etag", "content-type", "preference-applied")


class Once:
    """One request, with its key if it has one."""

    def __init__(self, request: Request, key: str | None) -> None:
        self._request = request
        self._key = key

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
        scope = f"{self._request.method} {self._request.url.path}"
        body = content.encode() if isinstance(content, str) else content
        fingerprint = hashlib.sha256(self._request.url.query.encode() + b"\0" + body).hexdigest()
        begun = await state.idempotency.begin(scope, self._key, fingerprint, new_id(prefix))
        if begun.answer is not None:
            stored = begun.answer
            if stored.body is None and remake is not None:
                response = await remake(begun.id)
            else:
                response = Response(stored.body, status_code=stored.status, headers=stored.headers)
            response.headers["Idempotency-Replayed"] = "true"
            return response
        try:
            response = await act(begun.id)
        except PreceptorError:
            await state.idempotency.abandon(scope, self._key)
            raise
        remade = remake is not None and response.status_code == 200
        answer = StoredAnswer(
            status=response.status_code,
            headers={name: value for name, value in response.headers.items() if name in _KEPT_HEADERS},
            body=None if remade else bytes(response.body).decode(),
        )
        await state.idempotency.complete(scope, self._key, answer)
        return response


def _once(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Any text; the same key with the same request gives the same answer for 24 hours",
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
        ),
    ] = None,
) -> Once:
    return Once(request, idempotency_key)


OnceOf = Annotated[Once, Depends(_once)]
