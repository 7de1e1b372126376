"""What goes between the worker and the process of a stranger's model: it arrives whole, and nonsense is refused."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays

from worker.teachers.interface import Items, Outputs
from worker.teachers.wire import Broken, Line, largest_outputs, of_batch, of_outputs, to_batch, to_outputs


@pytest.fixture
def ends() -> Iterator[tuple[Line, socket.socket]]:
    """Our end, and the other as a bare socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Line(ours), theirs


def carried(head: dict[str, Any], parts: list[Any]) -> tuple[dict[str, Any], list[bytearray]]:
    """Through a real pair of sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=Line(ours).send, args=(head, parts))
        sender.start()
        try:
            return Line(theirs).receive(2**31)
        finally:
            sender.join()


floats = st.floats(width=32, allow_nan=False)


@given(
    st.one_of(
        st.builds(Items, images=st.lists(st.binary(max_size=200), max_size=5), start=st.integers(0, 2**40)),
        st.builds(
            Items,
            texts=st.lists(st.text(st.characters(exclude_categories=())), max_size=5),
            start=st.integers(0, 2**40),
        ),
        st.builds(Items, features=arrays.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 7)))),
    )
)
def test_batches_arrive_as_they_were(batch: Items) -> None:
    found = to_batch(*carried(*of_batch(batch)))
    assert (found.images, found.texts, found.start) == (batch.images, batch.texts, batch.start)
    if batch.features is None:
        assert found.features is None
    else:
        assert found.features is not None
        assert np.array_equal(found.features, batch.features, equal_nan=True)


@given(st.integers(0, 4), st.integers(0, 6), st.none() | st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_outputs_arrive_as_they_were(items: int, classes: int, width: int | None, seed: int) -> None:
    generator = np.random.default_rng(seed)
    made = Outputs(
        generator.normal(size=(items, classes)).astype(np.float32),
        None if width is None else generator.normal(size=(items, width)).astype(np.float32),
    )
    head, parts = of_outputs(made)
    assert sum(map(len, parts)) <= largest_outputs(items)
    found = to_outputs(*carried(head, parts))
    assert np.array_equal(found.logits, made.logits)
    if made.features is None:
        assert found.features is None
    else:
        assert found.features is not None
        assert np.array_equal(found.features, made.features)


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"shapes": None},
        {"shapes": []},
        {"shapes": [[2, 2], [1, 1]]},
        {"shapes": [[4]]},
        {"shapes": [[1, 1, 4]]},
        {"shapes": [[-2, -2]]},
        {"shapes": [[2.0, 2]]},
        {"shapes": [[True, 4]]},
        {"shapes": [[2, 3]]},
        {"shapes": [[2**80, 2**80]]},
        {"shapes": [{"0": 2}]},
    ],
)
def test_shapes_that_do_not_fit_are_refused(head: dict[str, Any]) -> None:
    with pytest.raises(Broken):
        to_outputs(head, [bytearray(16)])


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
def test_nonsense_is_refused_before_memory_is_given(ends: tuple[Line, socket.socket], sent: bytes, told: str) -> None:
    line, other = ends
    sender = threading.Thread(target=lambda: (other.sendall(sent), other.shutdown(socket.SHUT_WR)))
    sender.start()
    with pytest.raises(Broken, match=told):
        line.receive(2**20)
    sender.join()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        try:
            head, parts = Line(ours).receive(1000)
        except Broken:
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
def test_who_says_nothing_is_not_waited_for(ends: tuple[Line, socket.socket], ask: Callable[[Line], Any]) -> None:
    with pytest.raises(TimeoutError):
        ask(ends[0])


def test_a_closed_end_is_told(ends: tuple[Line, socket.socket]) -> None:
    line, other = ends
    other.close()
    with pytest.raises(Broken):
        line.send({}, [bytes(2**24)])
