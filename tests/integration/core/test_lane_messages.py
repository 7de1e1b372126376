"""What travels through a lane: the id of a job and nothing else. The queue's library pickles what it is given."""

import pickle
import pickletools
from collections.abc import AsyncIterator
from typing import cast

import pytest
import redis

from preceptor.contract.ids import DISTILLATION, RECOMMENDATION, new_id
from service.core.jobs.queue import Lanes
from service.core.lanes import LANES, lane_of

pytestmark = pytest.mark.anyio

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
