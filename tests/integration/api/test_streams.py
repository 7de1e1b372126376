"""Event streams are counted, by caller and in all, and a stream that ends gives its place back."""

import time
from contextlib import ExitStack

import httpx2
import pytest
from fastapi import FastAPI

from service.core.errors import TooManyStreams
from service.http.stream_limit import Streams

from .seeds import Seeds


def test_each_caller_and_all_together_have_a_most() -> None:
    streams = Streams(most=3, most_of_one=2)
    with streams.one("a"), streams.one("a"):
        with pytest.raises(TooManyStreams, match="This caller has 2"), streams.one("a"):
            pass
        with streams.one("b"), pytest.raises(TooManyStreams, match="3 event streams are open"), streams.one("c"):
            pass
        with streams.one("c"):
            pass
    with streams.one("a"), streams.one("a"), streams.one("b"):
        pass
    assert not streams._open


def test_one_more_stream_is_refused_until_one_ends(http: httpx2.Client, app: FastAPI, seeds: Seeds) -> None:
    app.state.streams = Streams(most=10, most_of_one=2)
    path = f"/v1/jobs/{seeds.queued}/events"
    with ExitStack() as streams:
        for _ in range(2):
            assert streams.enter_context(http.stream("GET", path)).status_code == 200
        refused = http.get(path)
        assert refused.status_code == 429
        assert refused.json()["type"].endswith("too-many-streams")
        assert refused.headers["Retry-After"] == "5"
        assert http.get("/v1/jobs/rec_01hzzzzzzzzzzzzzzzzzzzzzzz/events").status_code in (404, 422)
    deadline = time.monotonic() + 10
    while True:  # The service hears of a closed connection a moment later.
        with http.stream("GET", path) as again:
            if again.status_code == 200:
                break
        assert time.monotonic() < deadline
    assert http.get(f"/v1/jobs/{seeds.done}/events").status_code == 200


def test_what_browsers_guess_is_nothing(http: httpx2.Client) -> None:
    for path in ("/v1/jobs", "/nothing", "/health/live", "/metrics", "/docs"):
        assert http.get(path).headers["x-content-type-options"] == "nosniff"
