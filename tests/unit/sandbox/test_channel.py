"""Messages between two processes: malformed ones are rejected before memory is allocated, and no wait is unbounded."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from service.sandbox.channel import Channel, ChannelBroken


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """Our end, and the other as a bare socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


def front(size: int, *lengths: int) -> bytes:
    """What stands before a head."""
    sizes = b"".join(length.to_bytes(8, "little") for length in lengths)
    return size.to_bytes(4, "little") + len(lengths).to_bytes(4, "little") + sizes


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"\xff" * 8, "head is too long"),
        (front(2**23), "head is too long"),
        (front(2, 2**63), "message is too long"),
        (front(2, *[2**40] * 3), "message is too long"),
        (front(2, 2**62, 2**62, 2**62, 2**62), "message is too long"),
        (front(3) + b"nul", "not valid JSON"),
        (front(100_000) + b"[" * 100_000, "not valid JSON"),
        (front(4) + b"null", "not a JSON object"),
        (front(2, 5) + b"{}abc", "has closed"),
        (b"\x01", "has closed"),
        (b"", "has closed"),
    ],
)
def test_malformed_messages_are_rejected_before_memory_is_allocated(
    ends: tuple[Channel, socket.socket], sent: bytes, message: str
) -> None:
    channel, other = ends
    sender = threading.Thread(target=lambda: (other.sendall(sent), other.shutdown(socket.SHUT_WR)))
    sender.start()
    with pytest.raises(ChannelBroken, match=message):
        channel.receive(2**20)
    sender.join()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        try:
            head, parts = Channel(ours).receive(1000)
        except ChannelBroken:
            return
    assert isinstance(head, dict)
    assert sum(map(len, parts)) <= 1000


@pytest.mark.parametrize(
    "call",
    [
        lambda channel: channel.receive(10, until=time.monotonic() + 0.05),
        lambda channel: channel.receive(10, until=time.monotonic() - 1),
        # More than a socket holds, and nobody reads.
        lambda channel: channel.send({}, [bytes(2**24)], until=time.monotonic() + 0.05),
    ],
)
def test_a_silent_peer_times_out(ends: tuple[Channel, socket.socket], call: Callable[[Channel], Any]) -> None:
    with pytest.raises(TimeoutError):
        call(ends[0])


def test_a_closed_peer_is_reported(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    other.close()
    with pytest.raises(ChannelBroken):
        channel.send({}, [bytes(2**24)])
