"""What followers of a job are sent: everything once and in order, read once for all, and other work has its turn."""

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest
from pydantic import BaseModel

from preceptor.contract.ids import RECOMMENDATION, new_id
from preceptor.contract.recommendations import RecommendationBody
from service.app import create_app
from service.core.errors import StateUnavailable
from service.core.jobs.events import BATCH
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State
from service.http import event_streams
from service.http.event_streams import EventStreams, _Buffer, _Entry

from .slow import connected, limited

pytestmark = pytest.mark.anyio
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})


class Answer(BaseModel):
    value: int


class Running:
    """A job that a worker holds."""

    def __init__(self, state: State, id: str, fence: int) -> None:
        self.state, self.id, self.fence = state, id, fence

    @classmethod
    async def of(cls, state: State) -> "Running":
        id = new_id(RECOMMENDATION)
        await state.jobs.submit(id, "recommendation", REQUEST)
        return cls(state, id, (await state.jobs.leases.take(id, "w")).fence)

    async def log(self, first: int, end: int, **more: Any) -> None:
        for number in range(first, end):
            assert await self.state.jobs.leases.emit(self.id, self.fence, "log", {"number": number, **more})

    async def end(self) -> None:
        assert await self.state.jobs.leases.succeed(self.id, self.fence, Answer(value=1))


@pytest.fixture
async def job(state: State) -> Running:
    return await Running.of(state)


@pytest.fixture
def streams() -> EventStreams:
    return EventStreams()


def events_in(text: bytes) -> list[dict[str, Any]]:
    """The events of a part of a stream; their `id` and `event` lines agree with their data."""
    found = []
    for block in text.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            event = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (event["id"], event["event"])
            found.append(event)
    return found


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["data"]["number"] for event in events if event["event"] == "log"]


async def followed(streams: EventStreams, job: Running, last: str | None = None) -> list[dict[str, Any]]:
    """All events of a job until its stream ends."""
    seen: list[dict[str, Any]] = []
    async with aclosing(streams.follow(job.state, job.id, last)) as stream:
        async for text in stream:
            seen += events_in(text)
    return seen


async def until(condition: Callable[[], bool]) -> None:
    """Let others work until something holds."""
    while not condition():  # noqa: ASYNC110 - what it looks at rings no bell
        await asyncio.sleep(0.001)


async def joined(streams: EventStreams, job: Running, count: int) -> None:
    """Wait until so many listeners are served by the feed."""

    def served() -> bool:
        feed = streams._feeds.get(job.id)
        return feed is not None and len(feed._listeners) >= count

    await until(served)


async def test_all_listeners_are_sent_everything_and_the_log_is_read_once_for_all(
    streams: EventStreams, job: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    after = job.state.events.after

    async def counted(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        return await after(*args)

    monkeypatch.setattr(job.state.events, "after", counted)
    listeners = [asyncio.create_task(followed(streams, job)) for _ in range(50)]
    await joined(streams, job, 50)
    before = reads
    for number in range(10):
        await job.log(number, number + 1)
        await asyncio.sleep(0.01)
    await job.end()
    heard = await asyncio.wait_for(asyncio.gather(*listeners), 20)
    assert all(events == heard[0] for events in heard)
    assert numbers(heard[0]) == list(range(10))
    assert [event["data"]["status"] for event in heard[0] if event["event"] == "status"] == [
        "queued", "running", "succeeded",
    ]  # fmt: skip
    assert reads - before <= 2 * 11 + 2, "one reader, whatever the number of listeners"
    assert streams._feeds == {}, "nothing is kept of a job that nobody follows"


async def test_a_listener_resumes_behind_the_event_that_it_names(streams: EventStreams, job: Running) -> None:
    await job.log(0, 3)
    first = asyncio.create_task(followed(streams, job))
    await joined(streams, job, 1)
    names = {event.data["number"]: event.id for event in (await job.state.events.after(job.id, None))[2:]}
    behind = asyncio.create_task(followed(streams, job, names[1]))
    await joined(streams, job, 2)
    await job.log(3, 5)
    await job.end()
    assert numbers(await first) == [0, 1, 2, 3, 4]
    assert numbers(await behind) == [2, 3, 4]
    assert numbers(await followed(streams, job, names[2])) == [3, 4]
    assert numbers(await followed(streams, job)) == [0, 1, 2, 3, 4]


async def test_a_log_longer_than_one_reading_is_sent_whole(streams: EventStreams, job: Running) -> None:
    await job.log(0, BATCH + 20)
    early = asyncio.create_task(followed(streams, job))
    await joined(streams, job, 1)
    await job.end()
    assert numbers(await early) == numbers(await followed(streams, job)) == list(range(BATCH + 20))


async def test_an_id_of_another_log_spoils_nothing_for_others(streams: EventStreams, job: Running) -> None:
    await job.log(0, 2)
    future = asyncio.create_task(followed(streams, job, "99999999999999-0"))
    await joined(streams, job, 1)
    other = asyncio.create_task(followed(streams, job))
    await joined(streams, job, 2)
    await job.log(2, 4)
    await job.end()
    assert numbers(await other) == [0, 1, 2, 3]
    assert numbers(await future) == []


async def test_a_listener_that_falls_behind_resumes_with_its_last_id(
    streams: EventStreams, job: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "_BUFFER_BYTES", 2000)
    prompt = asyncio.create_task(followed(streams, job))
    slow = streams.follow(job.state, job.id, None)
    seen = events_in(await anext(slow))
    await joined(streams, job, 1)
    await job.log(0, 1)
    seen += events_in(await anext(slow))  # It is served by the feed from here on, and reads nothing more for a while.
    for number in range(1, 100):
        await job.log(number, number + 1)
        await asyncio.sleep(0)
    last = event_streams.place_of(seen[-1]["id"])
    await until(lambda: streams._feeds[job.id].buffer.begin > last)
    assert streams._feeds[job.id].buffer._size <= 2000
    assert [text async for text in slow] == [], "its stream ends"
    resumed = asyncio.create_task(followed(streams, job, seen[-1]["id"]))
    await joined(streams, job, 2)
    await job.end()
    assert numbers(seen + await resumed) == list(range(100))
    assert numbers(await prompt) == list(range(100))


async def test_events_larger_than_the_buffer_reach_listeners_that_keep_up(
    streams: EventStreams, job: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "_BUFFER_BYTES", 2000)
    listeners = [asyncio.create_task(followed(streams, job)) for _ in range(20)]
    await joined(streams, job, 20)
    await job.log(0, 60, text="x" * 1500)
    await job.end()
    for events in await asyncio.gather(*listeners):
        assert numbers(events) == list(range(60))


async def test_other_work_has_its_turn_while_listeners_are_woken(streams: EventStreams, job: Running) -> None:
    listeners = [asyncio.create_task(followed(streams, job)) for _ in range(400)]
    await joined(streams, job, 400)
    feed = streams._feeds[job.id]
    turns: list[int] = []
    rung = False

    async def other_work() -> None:
        while not rung:
            turns.append(sum(bell.is_set() for bell in feed._listeners))
            await asyncio.sleep(0)

    working = asyncio.create_task(other_work())
    await asyncio.sleep(0)
    await feed._ring()
    rung = True
    await working
    assert max(turns) <= 2 * event_streams._AT_ONCE, "as many listeners are woken between two turns"
    assert len(turns) >= 400 // event_streams._AT_ONCE
    await job.end()
    assert {len(events) for events in await asyncio.gather(*listeners)} == {3}


async def test_a_lost_log_ends_the_streams_of_a_job_that_has_ended(streams: EventStreams, job: Running) -> None:
    listener = asyncio.create_task(followed(streams, job))
    await joined(streams, job, 1)
    await job.state.client.rename(keys.events(job.id), "elsewhere")
    await job.end()
    await job.state.client.delete(keys.events(job.id))
    for events in (await asyncio.wait_for(listener, 20), await followed(streams, job)):
        assert events[-1]["data"]["status"] == "succeeded"


async def test_an_outage_of_redis_is_not_noticed(
    streams: EventStreams, job: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = job.state.events.after
    failures = iter([True, True, False, True])

    async def failing(*args: Any) -> Any:
        if next(failures, False):
            raise StateUnavailable("away")
        return await after(*args)

    monkeypatch.setattr("service.core.jobs.events._RECHECK_SECONDS", 0.05)
    monkeypatch.setattr(job.state.events, "after", failing)
    monkeypatch.setattr(event_streams.asyncio, "sleep", lambda _, sleep=asyncio.sleep: sleep(0))
    listener = asyncio.create_task(followed(streams, job))
    await joined(streams, job, 1)
    await job.log(0, 2)
    await job.end()
    assert numbers(await asyncio.wait_for(listener, 20)) == [0, 1]


async def test_silence_is_filled_with_comments(
    streams: EventStreams, job: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "_PING_SECONDS", 0.01)
    async with aclosing(streams.follow(job.state, job.id, None)) as stream:
        assert len(events_in(await anext(stream))) == 2
        assert [await anext(stream) for _ in range(3)] == [b": ping\n\n"] * 3


def test_the_buffer_has_a_size_and_no_gap() -> None:
    buffer = _Buffer((0, 0))
    for number in range(1, 5001):
        buffer.add(_Entry((number, 0), b"%0100d" % number))
    assert buffer._size <= event_streams._BUFFER_BYTES
    first = buffer.begin[0] + 1
    kept = [b"%0100d" % number for number in range(first, 5001)]
    assert buffer.behind(buffer.begin) == b"".join(kept)
    assert buffer.behind((4990, 0)) == b"".join(kept[-10:])
    assert buffer.behind((5000, 0)) == b""
    buffer.add(_Entry((5001, 0), b"x" * 10**6))
    assert (buffer.begin, buffer.behind((5000, 0))) == ((5000, 0), b"x" * 10**6)


async def test_a_client_that_does_not_read_loses_its_connection(
    settings: Settings, state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.lease_seconds = 600  # The reaper of the service leaves the job alone.
    job = await Running.of(state)
    monkeypatch.setattr(event_streams, "_SEND_SECONDS", 0.2)
    app = create_app(settings)
    size = 700 * 30_000  # More than all buffers on the way hold.

    def rest(connection: socket.socket) -> int:
        read = 0
        with suppress(ConnectionResetError):
            while chunk := connection.recv(2**20):
                read += len(chunk)
        return read

    with limited(app) as url, connected(url) as connection:
        connection.sendall(f"GET /v1/jobs/{job.id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(16).startswith(b"HTTP/1.1 200")
        assert app.state.streams._open.total() == 1
        await job.log(0, 700, text="x" * 30_000)
        await until(lambda: app.state.streams._open.total() == 0)
        assert await asyncio.to_thread(rest, connection) < size
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
