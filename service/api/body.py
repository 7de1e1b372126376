"""Raw request bodies, as a stream."""

from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import Request

from service.state.errors import TooLarge, UnsupportedType

RAW: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""OpenAPI of a request whose body is a file's bytes."""


def raw_body(request: Request, limit: int, what: str) -> AsyncIterator[bytes]:
    """The body in chunks.

    Raises
    ------
    TooLarge
        The announced length is over the limit: refused before a byte is read.
    UnsupportedType
        A form was sent instead of the bytes.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise UnsupportedType(
            f"Send the bytes of {what} as the body, not a form: curl --data-binary @FILE "
            "-H 'Content-Type: application/octet-stream'"
        )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge(f"{what} has {int(announced):,} bytes; at most {limit:,} are taken")
    return request.stream()
