"""Raw request bodies, as a stream."""

import re
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from service.core.errors import TooLarge, UnsupportedType

RAW: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
    }
}
"""OpenAPI of a request whose body is a file's bytes."""


def announced_length(header: str) -> int:
    """The number of bytes that a `Content-Length` announces; 0 where it announces none."""
    return int(header) if re.fullmatch(r"[0-9]{1,19}", header) else 0


def refuse_encoding(request: Request) -> None:
    """Refuse a compressed body: taken as it is, it would be stored or read as something else.

    Raises
    ------
    UnsupportedType
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedType(f"Content-Encoding {encoding[:60]!r} is not accepted; send the body as it is")


async def caller_gone(request: Request) -> None:
    """Wait until the caller has closed the connection. To be asked after the whole body was read.

    Raises
    ------
    ClientDisconnect
    """
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect


def raw_body(request: Request, limit: int, what: str) -> AsyncIterator[bytes]:
    """The body in chunks.

    Raises
    ------
    TooLarge
        The announced length is over the limit: refused before a byte is read.
    UnsupportedType
        A form was sent instead of the bytes, or they are compressed for the way.
    """
    refuse_encoding(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise UnsupportedType(
            f"Send the bytes of {what} as the body, not a form: curl --data-binary @FILE "
            "-H 'Content-Type: application/octet-stream'"
        )
    announced = announced_length(request.headers.get("content-length", ""))
    if announced > limit:
        raise TooLarge(
            f"{what} has {announced:,} bytes; at most {limit:,} are taken. Send a smaller one, or have the operator "
            "raise the limit"
        )
    return request.stream()
