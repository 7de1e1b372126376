"""What travels through a lane: the id of a job and nothing else. The queue's library pickles what it is given."""

import asyncio
import os
import pickle
import pickletools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from pydantic import BaseModel

from preceptor.contract.ids import DISTILLATION, RECOMMENDATION, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.recommendations import RecommendationBody
from service.core.async_helpers import ended
from service.core.jobs import message_codec
from service.core.jobs.queue import Lanes
from service.core.lanes import LANES, lane_of
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State
from worker.jobs.consumer import Consumer
from worker.jobs.context import JobContext

pytestmark = pytest.mark.anyio
BODY = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})


class Answer(BaseModel):
    value: int


# Opcodes that build plain values: nothing is imported or called when they are read.
_PLAIN = {
    "PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "EMPTY_TUPLE", "EMPTY_DICT", "TUPLE", "TUPLE1", "SHORT_BINUNICODE",
    "BINUNICODE",
}  # fmt: skip


@pytest.fixture
async def lanes(redis_url: str) -> AsyncIterator[Lanes]:
    """The sending end."""
    opened = Lanes(redis_url)
    yield opened
    await opened.close()


def messages(url: str, lanes: Lanes) -> list[dict[bytes, bytes]]:
    """Everything that waits in any lane, now or later."""
    found: list[dict[bytes, bytes]] = []
    with redis.Redis(unix_socket_path=url.removeprefix("unix://").split("?")[0]) as client:
        for lane in LANES:
            stream, due = lanes.message_keys(lane)
            found += [cast(dict[bytes, bytes], fields) for _, fields in client.xrange(stream) or ()]
            assert client.zcard(due) == 0
    return found


@pytest.mark.parametrize("kind", [RECOMMENDATION, DISTILLATION])
async def test_a_message_holds_the_id_alone(lanes: Lanes, redis_url: str, kind: str) -> None:
    id = new_id(kind)
    await lanes.enqueue(lane_of(id), id, 3)
    (message,) = messages(redis_url, lanes)
    pickled = {name: value for name, value in message.items() if value[:1] == pickle.PROTO}
    assert set(pickled) == {b"args", b"kwargs"}, "no other field is read with pickle"
    opcodes = [(code.name, told) for value in pickled.values() for code, told, _ in pickletools.genops(value)]
    assert {name for name, _ in opcodes} <= _PLAIN
    assert [told for name, told in opcodes if name.endswith("UNICODE")] == [id]
    plain = {name: value for name, value in message.items() if name not in pickled}
    assert plain[b"key"] == f"{id}.3".encode()
    assert plain[b"function"] == b"run_job"
    assert not any(id.encode() in value for name, value in plain.items() if name != b"key")


class Harmful:
    """Runs a command where it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_what_is_sent_is_read_back() -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):  # As any release may write them.
        assert message_codec.loads(pickle.dumps(("rec_1",), protocol=protocol)) == ("rec_1",)
        assert message_codec.loads(pickle.dumps((), protocol=protocol)) == ()
        assert message_codec.loads(pickle.dumps({}, protocol=protocol)) == {}


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps((Harmful("true"),)),
        pickle.dumps((1,)),
        pickle.dumps({"job_id": "rec_1"}),
        pickle.dumps(("x" * 2000,)),
        pickle.dumps(("rec_1",))[:-3],
        pickle.dumps(os.system),
        b"cos\nsystem\n(S'true'\ntR.",
        b"not a pickle",
        b"",
    ],
)
def test_anything_else_is_not_read(data: bytes) -> None:
    with pytest.raises(message_codec.NotData):
        message_codec.loads(data)


async def test_a_worker_runs_no_code_that_lies_in_redis(settings: Settings, tmp_path: Path) -> None:
    """In the arguments of a message and in an instruction; the worker goes on."""
    proof = tmp_path / "proof"
    harmful = pickle.dumps((Harmful(f"touch {proof}"),))

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        return Answer(value=1)

    async with State(settings) as state:
        await state.ensure_index()
        ids = [new_id(RECOMMENDATION) for _ in range(2)]
        stream, _ = state.lanes.message_keys("recommend")
        for id in ids:
            await state.jobs.submit(id, "recommendation", BODY)
        with redis.Redis(unix_socket_path=state.redis_url.removeprefix("unix://").split("?")[0]) as client:
            (_, first), (_, second) = client.xrange(stream)
            client.xtrim(stream, maxlen=0)
            client.xadd(stream, {**first, b"args": harmful})
            client.xadd(stream, {**second, b"kwargs": pickle.dumps({"job_id": Harmful(f"touch {proof}")})})
            strike = {b"direction": b"strike", b"function": b"other", b"parameter": b"x", b"operator": b"=="}
            client.xadd(f"{keys.lane('recommend')}:strikes", {**strike, b"value": harmful})
        consumer = Consumer(state, "recommend", {"recommendation": task})
        running = asyncio.create_task(consumer.run())
        reaping = asyncio.create_task(state.reap_indefinitely(0.05))
        async with asyncio.timeout(30):
            for id in ids:
                async for _ in state.events.wake_ups(id):
                    summary = await state.jobs.get(id)
                    if summary is not None and summary.status == JobStatus.SUCCEEDED:
                        break
        consumer.drain()
        await asyncio.wait_for(running, 20)
        await ended(reaping)
    assert not proof.exists()
