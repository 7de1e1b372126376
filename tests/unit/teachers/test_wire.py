"""What goes between the worker and the process of a stranger's model: it arrives as it was, and must fit its sizes."""

import socket
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays

from service.sandbox.channel import Channel, ChannelBroken
from worker.teachers.interface import Items, Outputs
from worker.teachers.sandboxed import largest_outputs, of_batch, of_outputs, to_batch, to_outputs


def carried(head: dict[str, Any], parts: list[Any]) -> tuple[dict[str, Any], list[bytearray]]:
    """Through a real pair of sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=Channel(ours).send, args=(head, parts))
        sender.start()
        try:
            return Channel(theirs).receive(2**31)
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
    with pytest.raises(ChannelBroken):
        to_outputs(head, [bytearray(16)])
