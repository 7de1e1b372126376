"""Haste and a full lane: refused with 429 and Retry-After, and nothing is kept of what was refused."""

import httpx2
import pytest
from fastapi import FastAPI

from service.core.errors import QueueFull
from service.core.jobs.submission_limit import SubmissionLimit
from service.core.settings import Settings
from service.core.state import State

BODY = {"student": {"labels": ["cat", "dog"]}, "candidates": [{"name": "zoo", "labels": ["lion", "wolf"]}]}


def stored_jobs(settings: Settings) -> set[str]:
    folder = settings.data / "store" / "jobs"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_while_too_many_are_written_more_are_refused_unread(
    http: httpx2.Client, app: FastAPI, settings: Settings
) -> None:
    state: State = app.state.preceptor
    state.intake = SubmissionLimit(limit=1)
    with state.intake.one():
        for path, body in (("/v1/recommendations", BODY), ("/v1/distillations", BODY), ("/v1/recommendations", {})):
            refused = http.post(path, json=body, headers={"Idempotency-Key": f"key{path}"})
            assert refused.status_code == 429
            assert refused.headers["Retry-After"] == "1"
            assert refused.json()["type"].endswith("queue-full")
        assert http.get("/v1/jobs").json()["items"] == []
    made = http.post("/v1/recommendations", json=BODY, headers={"Idempotency-Key": "key/v1/recommendations"})
    assert made.status_code == 202
    assert stored_jobs(settings) == {made.json()["id"]}


def test_the_intake_counts_what_is_written_and_what_has_failed() -> None:
    intake = SubmissionLimit(limit=2)
    with intake.one(), intake.one(), pytest.raises(QueueFull, match="2 submissions"), intake.one():
        pass
    with pytest.raises(ValueError, match="of the test"), intake.one():
        raise ValueError("of the test")
    with intake.one(), intake.one():
        pass


def test_a_full_lane_keeps_nothing_of_what_it_refuses(http: httpx2.Client, app: FastAPI, settings: Settings) -> None:
    state: State = app.state.preceptor
    settings.max_queue = 4
    made = [http.post("/v1/recommendations", json=BODY).json()["id"] for _ in range(4)]
    for seen in (0, 4):  # A lane that was last seen empty is found full by the write itself.
        state.jobs.records.waits["recommend"] = seen
        refused = http.post("/v1/recommendations", json=BODY)
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "5"
        assert stored_jobs(settings) == set(made)
    assert http.post(f"/v1/jobs/{made[0]}/cancel").status_code == 200
    assert http.post("/v1/recommendations", json=BODY).status_code == 202
