"""Event streams of jobs: one reader for each job and process, whose events go to everyone who follows the job.

An event is read from Redis, parsed and encoded once, however many listeners there are. They are woken a few at a time,
and after all were woken the reader rests: other requests get their turn between two listeners, and most of the
processor. A listener keeps nothing but its place. The events themselves are in one buffer of limited size; a listener
that falls behind its begin has to connect again, with the id of the last event that it has read.
"""

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from preceptor.contract.jobs import JobEvent, JobSummary
from service.core.errors import StateUnavailable
from service.core.jobs.events import BATCH, ends
from service.core.state import State

from .job_responses import listening

_BUFFER_BYTES: Final = 256 * 2**10
"""Of the events that a feed keeps; over a thousand of the usual size."""
_AT_ONCE: Final = 8
"""Listeners woken in one turn of the event loop: one millisecond of work."""
_REST: Final = 2.0
"""How long a feed rests, in the time that it took to wake its listeners."""
_LONGEST_REST: Final = 1.0
_PING_SECONDS: Final = 15.0
_SEND_SECONDS: Final = 30.0
"""A client that reads nothing for so long loses its connection; its buffers would be kept without limit."""
_CATCHING_UP: Final = 2
"""Listeners that read the log by themselves at the same time; each batch takes some milliseconds."""

ABORT: Final = "preceptor.abort"
"""Extension of the ASGI scope: a function that closes the connection at once (`service.server`)."""

EVENT_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "data": {"type": "string"},
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer", "minimum": 0},
    },
}
"""One item of a stream (OpenAPI 3.2, 4.14.4)."""

P = ParamSpec("P")
R = TypeVar("R")
Place = tuple[int, int]
"""Where an event stands in a log: milliseconds, number."""

log = structlog.stdlib.get_logger(__name__)


def place_of(event_id: str | None) -> Place:
    """The place of an event id; that before all events for None."""
    if event_id is None:
        return (0, 0)
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number or 0)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An event as it is sent."""

    place: Place
    text: bytes

    @classmethod
    def of(cls, event: JobEvent) -> "_Entry":
        return cls(
            place_of(event.id),
            format_sse_event(id=event.id, event=event.event, data_str=event.model_dump_json()),
        )


class _Buffer:
    """The newest events of a job, without a gap.

    Parameters
    ----------
    begin
        Place of the last event before them.

    Attributes
    ----------
    end
        Place of the last one.
    fresh
        Bytes that were added since this was set to 0.
    """

    def __init__(self, begin: Place) -> None:
        self.begin = self.end = begin
        self.fresh = 0
        self._places: list[Place] = []
        self._texts: list[bytes] = []
        self._size = 0
        self._joined: tuple[Place, Place, bytes] = (begin, begin, b"")

    def add(self, entry: _Entry) -> int:
        """Add an event; the oldest ones go where there is no room. One is always kept. Returns `fresh`."""
        self._places.append(entry.place)
        self._texts.append(entry.text)
        self._size += len(entry.text)
        self.fresh += len(entry.text)
        self.end = entry.place
        gone = 0
        while self._size > _BUFFER_BYTES and gone < len(self._places) - 1:
            self._size -= len(self._texts[gone])
            gone += 1
        if gone:
            self.begin = self._places[gone - 1]
            del self._places[:gone], self._texts[:gone]
        return self.fresh

    def behind(self, place: Place) -> bytes:
        """All events behind a place that is not before `begin`, joined once for all who stand there."""
        if self._joined[:2] != (place, self.end):
            text = b"".join(self._texts[bisect_right(self._places, place) :])
            self._joined = (place, self.end, text)
        return self._joined[2]


class _Feed:
    """The one reader of a job's log in this process.

    Parameters
    ----------
    buffer
        What was read already.
    """

    def __init__(self, state: State, id: str, buffer: _Buffer, last: str | None) -> None:
        self._state = state
        self._id = id
        self._last = last
        self._listeners: dict[asyncio.Event, None] = {}
        buffer.fresh = 0
        self.buffer = buffer
        self.over = False
        self._task = asyncio.create_task(self._run(), name=f"events of {id}")

    def join(self, bell: asyncio.Event) -> None:
        """Have a bell rung at each event, and at the end."""
        self._listeners[bell] = None

    def leave(self, bell: asyncio.Event) -> bool:
        """The opposite. Whether nobody is left; the reader ends then."""
        del self._listeners[bell]
        if self._listeners:
            return False
        self._task.cancel()
        return True

    async def _run(self) -> None:
        try:
            async with aclosing(listening(self._state, self._id)) as wake_ups:
                async for _ in wake_ups:
                    if await self._read():
                        break
            self.over = True
            await self._ring()
        except Exception:
            log.exception("event feed failed", job=self._id)
        finally:
            self.over = True
            for bell in self._listeners:
                bell.set()

    async def _read(self) -> bool:
        """Pass on what is new. Whether that was the end."""
        news = False
        try:
            while batch := await self._state.events.after(self._id, self._last):
                news = True
                for event in batch:
                    if self.buffer.add(_Entry.of(event)) > _BUFFER_BYTES // 2:
                        await self._pass_on()  # Before what listeners have not been sent has to go.
                    self._last = event.id
                    if ends(event):
                        return True
                await self._pass_on()
                if len(batch) < BATCH:
                    break  # What has come since rings again.
            if news:
                return False  # The job is running: otherwise the log would end with its last status.
            summary = await self._state.jobs.get(self._id)
        except StateUnavailable:
            return False  # Redis is away. The log is still there when it is back; listeners need not know.
        if summary is None:
            return True
        if not summary.status.terminal:
            return False
        # The log was read to its end and does not say so: it has expired, or was lost with Redis.
        event = _last_event(summary)
        if place_of(event.id) > self.buffer.end:
            self.buffer.add(_Entry.of(event))
        return True

    async def _pass_on(self) -> None:
        started = time.monotonic()
        await self._ring()
        self.buffer.fresh = 0
        await asyncio.sleep(min(_REST * (time.monotonic() - started), _LONGEST_REST))

    async def _ring(self) -> None:
        """Wake all listeners, some at a time."""
        for number, bell in enumerate(list(self._listeners), 1):
            bell.set()
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)


class EventStreams:
    """The feeds of this process."""

    def __init__(self) -> None:
        self._feeds: dict[str, _Feed] = {}
        self._catching_up = asyncio.Semaphore(_CATCHING_UP)

    async def follow(self, state: State, id: str, last: str | None) -> AsyncGenerator[bytes]:
        """What a listener is sent: every event behind `last`, then each new one until the job has ended.

        It also ends for a listener that falls behind, which then asks again from the last event that it has read.
        """
        place = place_of(last)
        read = _Buffer(place)
        while (feed := self._feeds.get(id)) is None or feed.over or feed.buffer.begin > place:
            async with self._catching_up:
                batch = await _answered(state.events.after, id, last)
                entries = [_Entry.of(event) for event in batch]
            if batch:
                for entry in entries:
                    read.add(entry)
                last, place = batch[-1].id, read.end
                yield b"".join(entry.text for entry in entries)
                if ends(batch[-1]):
                    return
            if len(batch) == BATCH:
                continue
            newest = await _answered(state.events.newest, id)
            if place_of(newest) < place:  # The id is not of this log. Others must not miss what comes before it.
                last, read = newest, _Buffer(place_of(newest))
            feed = self._feeds.get(id)
            if feed is None or feed.over:
                feed = self._feeds[id] = _Feed(state, id, read, last)
            elif feed.buffer.begin > place and place_of(newest) <= place:
                place = feed.buffer.begin  # Nothing is left between them: the log was shortened or lost.
        async with aclosing(self._live(id, feed, place)) as live:
            async for text in live:
                yield text

    async def _live(self, id: str, feed: _Feed, place: Place) -> AsyncGenerator[bytes]:
        bell = asyncio.Event()
        feed.join(bell)
        try:
            while feed.buffer.begin <= place:
                bell.clear()
                over = feed.over  # Before the buffer is looked at: what came last is in it.
                if feed.buffer.end > place:
                    text, place = feed.buffer.behind(place), feed.buffer.end
                    yield text
                elif over:
                    return
                else:
                    try:
                        async with asyncio.timeout(_PING_SECONDS):
                            await bell.wait()
                    except TimeoutError:
                        yield KEEPALIVE_COMMENT
        finally:
            if feed.leave(bell) and self._feeds.get(id) is feed:
                del self._feeds[id]


async def _answered(ask: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
    """What Redis answers, as soon as it is there: a listener need not know that it was away."""
    while True:
        try:
            return await ask(*args, **kwargs)
        except StateUnavailable:
            await asyncio.sleep(1.0)


class EventStreamResponse(StreamingResponse):
    """The answer that carries a stream; a client that does not read it loses the connection."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncGenerator[bytes]) -> None:
        # X-Accel-Buffering: nginx passes on what it gets.
        super().__init__(content, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        stalled = False

        async def in_time(message: Message) -> None:
            nonlocal stalled
            try:
                async with asyncio.timeout(_SEND_SECONDS):
                    await send(message)
            except TimeoutError:
                stalled = True
                raise

        try:
            async with aclosing(self._content):
                await super().__call__(scope, receive, in_time)
        except TimeoutError:
            if not stalled:
                raise
            log.info("event stream closed: the client does not read it", path=scope["path"])
            abort: Any = scope.get("extensions", {}).get(ABORT)
            if abort is not None:
                abort()
                await asyncio.sleep(0)  # The server is notified before it checks whether the response is complete.


def _last_event(summary: JobSummary) -> JobEvent:
    at = summary.finished_at or summary.created_at
    return JobEvent(id=f"{int(at.timestamp() * 1000)}-0", event="status", at=at, data={"status": summary.status.value})
