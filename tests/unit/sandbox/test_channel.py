"""Messages between two processes: nonsense is refused before memory is given, and nobody waits for ever."""

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
    ("sent", "told"),
    [
        (b"\xff" * 8, "head is too long"),
        (front(2**23), "head is too long"),
        (front(2, 2**63), "message is too long"),
        (front(2, *[2**40] * 3), "message is too long"),
        (front(2, 2**62, 2**62, 2**62, 2**62), "message is too long"),
        (front(3) + b"nul", "no JSON"),
        (front(100_000) + b"[" * 100_000, "no JSON"),
        (front(4) + b"null", "no object"),
        (front(2, 5) + b"{}abc", "has gone"),
        (b"\x01", "has gone"),
        (b"", "has gone"),
    ],
)
def test_nonsense_is_refused_before_memory_is_given(
    ends: tuple[Channel, socket.socket], sent: bytes, told: str
) -> None:
    line, other = ends
    sender = threading.Thread(target=lambda: (other.sendall(sent), other.shutdown(socket.SHUT_WR)))
    sender.start()
    with pytest.raises(ChannelBroken, match=told):
        line.receive(2**20)
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
    "ask",
    [
        lambda line: line.receive(10, until=time.monotonic() + 0.05),
        lambda line: line.receive(10, until=time.monotonic() - 1),
        # More than a socket holds, and nobody reads.
        lambda line: line.send({}, [bytes(2**24)], until=time.monotonic() + 0.05),
    ],
)
def test_who_says_nothing_is_not_waited_for(ends: tuple[Channel, socket.socket], ask: Callable[[Channel], Any]) -> None:
    with pytest.raises(TimeoutError):
        ask(ends[0])


def test_a_closed_end_is_told(ends: tuple[Channel, socket.socket]) -> None:
    line, other = ends
    other.close()
    with pytest.raises(ChannelBroken):
        line.send({}, [bytes(2**24)])
