"""A receiver of webhooks: a real HTTP server on a socket, that answers as it is told."""

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from preceptor.contract.webhooks import WebhookMessage


@dataclass(frozen=True)
class Received:
    """One request."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> WebhookMessage:
        return WebhookMessage.model_validate_json(self.body)

    def verified(self, secret: str) -> bool:
        """What a receiver does: made from the specification, not from the service's code."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = b".".join([self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), self.body])
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return f"v1,{expected}" in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """Answers with `answers` one after the other, then with 204.

    Attributes
    ----------
    answers
        Statuses, whole answers as bytes, an event to wait for before a 500, or None: no answer at all.
    heard
        Set at each request.
    taken
        Bytes of a long answer that the sender, or the system for it, has taken.
    """

    port: int = 0
    answers: list[int | bytes | asyncio.Event | None] = field(default_factory=list[Any])
    received: list[Received] = field(default_factory=list[Received])
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    taken: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
            body = await reader.readexactly(int(headers["content-length"]))
            self.received.append(Received(head[0].split(" ")[1], headers, body))
            self.heard.set()
            answer = self.answers.pop(0) if self.answers else 204
            if isinstance(answer, asyncio.Event):
                await answer.wait()
                answer = 500
            if answer is None:
                await reader.read()
            elif isinstance(answer, bytes):
                for start in range(0, len(answer), 4096):
                    writer.write(answer[start : start + 4096])
                    await writer.drain()
                    self.taken = start
            else:
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nLocation: /moved\r\n\r\n" % answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def hears(self, count: int) -> None:
        """Wait for so many requests in all."""
        async with asyncio.timeout(60):
            while len(self.received) < count:
                self.heard.clear()
                await self.heard.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
