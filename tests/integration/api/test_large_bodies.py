"""Large JSON bodies are read in threads, and read exactly as small ones are."""

import json
import threading
from typing import Any

import httpx2
import pytest

from service.core import async_helpers
from service.http import strict_route

WIDE = {"labels": ["cat", "dog"], "embeddings": [[0.125] * 4096, [0.25] * 4096]}


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the threads in which bodies were read."""
    seen: set[str] = set()
    read = strict_route.parsed

    def noted(body: bytes) -> Any:
        seen.add(threading.current_thread().name)
        return read(body)

    monkeypatch.setattr(strict_route, "parsed", noted)
    return seen


def padded(body: dict[str, Any]) -> str:
    """The same JSON, longer than what is read at once."""
    return json.dumps(body) + " " * async_helpers.LARGE


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/label-sets", WIDE),
        ("/v1/recommendations", {"student": WIDE, "candidates": [{"name": "zoo", **WIDE}]}),
        ("/v1/recommendations", {"student": {"labels": ["cat", "cat"]}}),
        ("/v1/recommendations", {"probe": "prb_x", "unknown": 1}),
        ("/v1/teachers", {"name": "t", "source": {"kind": "predictions"}, "modality": "image"}),
        ("/v1/distillations", {"data": 3}),
        ("/v1/webhooks", {"url": "https://hooks.example.com/a"}),
        ("/v1/students/stu_01hzzzzzzzzzzzzzzzzzzzzzzz/promote", {"name": "n"}),
        ("/v1/label-sets", []),
    ],
)
def test_it_makes_no_difference_to_the_answer(
    http: httpx2.Client, threads: set[str], path: str, body: dict[str, Any]
) -> None:
    given: list[tuple[int, Any]] = []
    for text in (json.dumps(body), padded(body)):
        answer = http.post(path, content=text, headers={"Content-Type": "application/json"})
        told = answer.json()
        for name in ("id", "instance", "created_at", "updated_at", "secret", "validation"):
            told.pop(name, None)
        given.append((answer.status_code, told))
    expected = 200 if given[0][0] == 201 and path == "/v1/label-sets" else given[0][0]
    assert given[1] == (expected, given[0][1])
    assert len(threads) == 2  # The event loop's for the short body, another for the long one.


def test_what_is_no_json_is_refused_there_too(http: httpx2.Client, threads: set[str]) -> None:
    for text in ("{", '{"a": NaN}', '{"a": 1, "a": 1}'):
        answer = http.post(
            "/v1/label-sets", content=" " * async_helpers.LARGE + text, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400
    assert threads
