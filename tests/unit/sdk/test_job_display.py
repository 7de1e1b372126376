"""What a waiting caller reads where there is no terminal: what the job does, and how long it is likely to take."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from preceptor.contract.jobs import JobEvent
from preceptor.display import JobDisplay, duration

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def _lines(events: Sequence[tuple[float, dict[str, Any]]]) -> list[str]:
    sink = io.StringIO()
    with JobDisplay("job", Console(file=sink, markup=False, width=200)) as display:
        for seconds, data in events:
            display(JobEvent(id="1-0", event="progress", at=BEGAN + timedelta(seconds=seconds), data=data))
    return sink.getvalue().splitlines()


def test_a_line_says_what_is_done_and_how_long_it_is_likely_to_take() -> None:
    lines = _lines([(0, {"fraction": 0.42, "message": "with teacher, seed 0", "remaining_seconds": 131.2})])
    assert lines == ["job:  42% with teacher, seed 0, about 2 min left"]
    assert _lines([(0, {"fraction": 0.0, "message": "reading", "remaining_seconds": None})]) == ["job:   0% reading"]


def test_a_slow_job_is_seen_to_move() -> None:
    """Less than a tenth in five minutes: a line every half minute all the same, and no more."""
    events = [(second, {"fraction": second / 10_000, "message": "training"}) for second in range(0, 300, 2)]
    assert len(_lines(events)) == 10
    quick = [(number / 10, {"fraction": number / 100, "message": "training"}) for number in range(101)]
    assert len(_lines(quick)) == 11


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "about 5 s"),
        (12, "about 10 s"),
        (54, "about 55 s"),
        (58, "about 1 min"),
        (150, "about 2 min"),
        (3500, "about 58 min"),
        (3600, "about 1 h"),
        (8000, "about 2 h 13 min"),
    ],
)
def test_an_estimate_has_few_digits(seconds: float, words: str) -> None:
    assert duration(seconds) == words
