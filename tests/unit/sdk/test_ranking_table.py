"""The ranking as a person reads it: the expected accuracy beside the score."""

import io

import pytest
from rich.console import Console

from preceptor.cli.recommendation_output import show_ranking
from preceptor.cli.session import Session
from preceptor.contract.recommendations import Certainty, RankedTeacher, RecommendationResult, Timings


def row(**changes: object) -> RankedTeacher:
    given = {
        "rank": 1,
        "teacher": None,
        "name": "good",
        "cost": 0.1,
        "score": 0.7,
        "method": "auto",
        "certainty": Certainty(low=0.5, high=0.9, best=0.8, ties=1, better_than_random=1.0),
        "classes": 3,
        "plan": [],
        "uncovered": [],
        "seconds": 0.1,
    }
    return RankedTeacher.model_validate({**given, **changes})


def shown(*rows: RankedTeacher) -> str:
    session = Session(None, None, False)
    session.out = Console(file=io.StringIO(), width=160, markup=False)
    result = RecommendationResult(
        method="auto",
        mode=None,
        higher_is_better=True,
        encoder="e",
        student_labels=["a", "b"],
        considered=len(rows),
        solved=len(rows),
        ranking=list(rows),
        skipped=[],
        uncovered=[],
        warnings=[],
        timings=Timings(),
    )
    show_ranking(session, result, 0)
    return session.out.file.getvalue()  # type: ignore[attr-defined]


def test_points_with_their_interval() -> None:
    table = shown(row(expected_accuracy=81.25, expected_accuracy_low=70.4, expected_accuracy_high=88.6))
    assert "expected accuracy" in table
    assert "81 % (70 to 89)" in table
    assert "0.500 to 0.900" in table


def test_an_older_worker_says_none() -> None:
    assert "0.500 to 0.900" in shown(row())
    assert "expected accuracy" not in shown(row())


def test_names_alone_have_no_column_for_it() -> None:
    assert "expected accuracy" not in shown(row(certainty=None, method="label_transport"))


def test_more_than_100_points_is_refused() -> None:
    with pytest.raises(ValueError, match="less than or equal to 100"):
        row(expected_accuracy=101)
