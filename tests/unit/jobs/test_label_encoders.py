"""Encoders that jobs share: a long list delays nobody, and stops with its job."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.jobs import label_encoders
from worker.jobs.label_encoders import CheckedEncoder, Encoders, RememberingEncoder
from worker.label_encoder import Check, StoppableEncoder, UnknownLabels, load_encoder, unchecked


class Slow:
    """Encodes a text as its length; waits in the middle of a list that holds `slow`."""

    identity = "slow/1"
    dim = 1

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.encoded: list[str] = []

    def encode(self, labels: Sequence[str], check: Check = unchecked) -> NDArray[np.float32]:
        if unknown := [position for position, text in enumerate(labels) if not text]:
            raise UnknownLabels(unknown, labels, "slow")
        for text in labels:
            check()
            self.encoded.append(text)
            if text == "slow":
                self.begun.set()
                assert self.let_go.wait(20)
        return np.array([[len(text)] for text in labels], dtype=np.float32)


class Stop(Exception):
    """The job must end."""


def test_a_short_list_does_not_wait_for_a_long_one() -> None:
    slow = Slow()
    shared = RememberingEncoder(slow)
    long = threading.Thread(target=shared.encode, args=(["slow", "long"],))
    long.start()
    assert slow.begun.wait(20)
    np.testing.assert_array_equal(shared.encode(["cat", "tiger", "cat"]), [[3], [5], [3]])
    slow.let_go.set()
    long.join(20)
    assert not long.is_alive()
    shared.encode(["long", "cat"])
    assert slow.encoded == ["slow", "cat", "tiger", "long"]


def test_a_list_ends_with_its_job_and_leaves_the_encoder_to_the_others() -> None:
    slow = Slow()
    slow.let_go.set()
    shared = RememberingEncoder(slow)
    looks = iter(range(10))

    def check() -> None:
        if next(looks) == 2:
            raise Stop

    with pytest.raises(Stop):
        CheckedEncoder(shared, check).encode(["a", "b", "c", "d"])
    assert slow.encoded == ["a", "b"]
    assert CheckedEncoder(shared, unchecked).encode(["abc"]).tolist() == [[3]]


def test_unknown_labels_are_reported_where_they_stand_in_the_list() -> None:
    shared = RememberingEncoder(Slow())
    shared.encode(["cat"])
    with pytest.raises(UnknownLabels) as refused:
        shared.encode(["cat", "", "dog", "dog", ""])
    assert refused.value.positions == [1, 4]


@pytest.mark.parametrize("name", ["minilm", "wordllama"])
def test_real_encoders_ask_before_each_batch(name: str) -> None:
    encoder, looks = load_encoder(name), 0

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise Stop

    with pytest.raises(Stop):
        encoder.encode([f"bus {number}" for number in range(1100)], check)


def test_an_encoder_that_is_being_loaded_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, let_go, loads = threading.Event(), threading.Event(), list[str]()

    def load(spec: str) -> StoppableEncoder:
        loads.append(spec)
        if spec == "far away":
            begun.set()
            assert let_go.wait(20)
        return Slow()

    monkeypatch.setattr(label_encoders, "load_encoder", load)
    encoders = Encoders("near")
    far = [threading.Thread(target=encoders.get, args=("far away",)) for _ in range(2)]
    for thread in far:
        thread.start()
    assert begun.wait(20)
    assert encoders.get(None) is encoders.get("near")
    let_go.set()
    for thread in far:
        thread.join(20)
    assert sorted(loads) == ["far away", "near"]
