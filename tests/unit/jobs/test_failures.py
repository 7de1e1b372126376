"""Errors of computing code end a job with the problem types that callers know."""

import pytest

from preceptor.contract.problem import TYPE_BASE
from worker.errors import ComputationFailed, InvalidInput, InvalidItems
from worker.jobs.failures import reported
from worker.teachers.errors import TeacherUnusable


@pytest.mark.parametrize(
    ("error", "slug", "status"),
    [
        (ComputationFailed("no labels"), "job-failed", 422),
        (InvalidInput("no such encoder"), "invalid-request", 422),
        (InvalidItems("item 3 is no picture"), "invalid-probe", 422),
        (TeacherUnusable("the model is damaged"), "job-failed", 422),
    ],
)
def test_problem(error: ComputationFailed, slug: str, status: int) -> None:
    problem = reported(error).problem()
    assert problem.type == TYPE_BASE + slug
    assert (problem.status, problem.detail) == (status, str(error))


def test_text_that_cannot_be_encoded_is_escaped() -> None:
    assert ComputationFailed("file \ud800").detail == "file \\ud800"
