"""Server-sent events in pieces of any size."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from preceptor import UnexpectedAnswerError
from preceptor.contract.base import now
from preceptor.contract.jobs import JobEvent, JobStatus
from preceptor.core.events import EventDecoder, status_of

STREAM = (
    ': ping\r\n\r\nid: 1-0\nevent: log\ndata: {"a": "鳥\N{SNOWMAN}"}\n\n'
    "data:first\r\ndata: second\r\n\r\nevent: nothing\n\ndata\n\n: \r\rdata: third\r\rid: 9\n"
).encode()
EVENTS = ['{"a": "鳥\N{SNOWMAN}"}', "first\nsecond", "", "third"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    decoder, found = EventDecoder(), list[str]()
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        found += decoder.feed(STREAM[start:end])
    assert found == EVENTS


def test_an_event_that_is_cut_off_is_dropped() -> None:
    assert EventDecoder().feed(b'data: {"a": 1}\n') == []


def test_an_endless_event_is_refused() -> None:
    decoder = EventDecoder()
    for _ in range(7):
        assert decoder.feed(b"data: " + b"x" * (1 << 20) + b"\n") == []
    with pytest.raises(UnexpectedAnswerError, match="larger than"):
        decoder.feed(b"data: " + b"x" * (1 << 20))


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("status", {"status": "succeeded"}, JobStatus.SUCCEEDED),
        ("status", {"status": "a new one"}, None),
        ("progress", {"status": "succeeded"}, None),
    ],
)
def test_the_status_that_an_event_announces(name: str, data: dict[str, str], status: JobStatus | None) -> None:
    assert status_of(JobEvent(id="1-0", event=name, at=now(), data=data)) is status
