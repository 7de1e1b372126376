"""A small HTTP/1.1 client on raw sockets: on two cores, the client must not dominate the measurement."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case) and body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One kept-alive connection.

    Parameters
    ----------
    url
        `http://host:port`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=2**24)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def encoded(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> bytes:
        """A request as bytes, to be encoded outside the measured time."""
        raw = isinstance(body, bytes)
        content = body if raw else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if content:
            lines.append(f"Content-Type: application/{'octet-stream' if raw else 'json'}")
        if method == "POST":
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join([*lines, "", ""]).encode() + content

    async def ask(self, request: bytes) -> Answer:
        """Send an encoded request and read its response."""
        self._writer.write(request)
        status, headers = await self._head()
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(status, headers, body)

    async def stream(self, request: bytes) -> int:
        """Send a request with a streaming response; returns its status."""
        self._writer.write(request)
        return (await self._head())[0]

    async def line(self) -> bytes:
        """The next line of a stream; empty at the end."""
        return await self._reader.readline()

    async def _head(self) -> tuple[int, dict[str, str]]:
        first, *rest = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in rest if line)
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}
