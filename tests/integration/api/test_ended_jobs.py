"""Jobs that have ended, answered from memory: the same answers as the long way gives."""

import httpx2
import pytest
from fastapi import FastAPI

from service.core.state import State

from .seeds import Seeds

_OF_ONE_ANSWER = ("x-request-id", "date")


def told(answer: httpx2.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name not in _OF_ONE_ANSWER}
    return answer.status_code, headers, answer.content


@pytest.mark.parametrize("collection", ["recommendations", "jobs"])
def test_the_second_answer_is_the_first(http: httpx2.Client, app: FastAPI, seeds: Seeds, collection: str) -> None:
    state: State = app.state.preceptor
    path = f"/v1/{collection}/{seeds.done}"
    assert state.recent.get(seeds.done) is None
    first = http.get(path)
    assert first.status_code == 200
    assert state.recent.get(seeds.done) == first.content
    assert told(http.get(path)) == told(first)
    tag = {"If-None-Match": first.headers["etag"]}
    short = told(http.get(path, headers=tag))
    assert short[0] == 304
    state.recent.forget(seeds.done)
    assert told(http.get(path, headers=tag)) == short
    assert http.get(path, headers={"If-None-Match": '"another"'}).content == first.content


def test_what_the_checks_refuse_is_refused_all_the_same(http: httpx2.Client, seeds: Seeds) -> None:
    path = f"/v1/recommendations/{seeds.done}"
    requests = [
        ("GET", f"{path}?page=1", {}, 422),
        ("GET", f"/v1/distillations/{seeds.done}", {}, 422),
        ("GET", f"/v1/teachers/{seeds.done}", {}, 422),
        ("GET", path, {"If-None-Match": "x" * 2001}, 422),
        ("PUT", path, {}, 405),
        ("HEAD", path, {}, 200),
    ]
    cold = [http.request(method, url, headers=headers).status_code for method, url, headers, _ in requests]
    assert http.get(path).status_code == 200
    warm = [http.request(method, url, headers=headers).status_code for method, url, headers, _ in requests]
    assert cold == warm == [status for *_, status in requests]


def test_it_is_counted_under_its_route(http: httpx2.Client, seeds: Seeds) -> None:
    for _ in range(3):
        assert http.get(f"/v1/jobs/{seeds.done}").status_code == 200
    line = 'preceptor_http_requests_total{method="GET",route="/v1/jobs/{id}",status="200"}'
    counts = [row.split()[1] for row in http.get("/metrics").text.splitlines() if row.startswith(line)]
    assert len(counts) == 1
    assert float(counts[0]) >= 3


def test_methods_that_nobody_knows_are_counted_as_one(http: httpx2.Client) -> None:
    for number in range(5):
        assert http.request(f"BREW{number}", "/v1/jobs").status_code == 405
    lines = [row for row in http.get("/metrics").text.splitlines() if row.startswith("preceptor_http_requests_total")]
    assert not [row for row in lines if "BREW" in row]
    other = [row for row in lines if 'method="other"' in row and 'status="405"' in row]
    assert sum(float(row.split()[1]) for row in other) >= 5


def test_a_job_that_goes_on_is_looked_up(http: httpx2.Client, app: FastAPI, seeds: Seeds) -> None:
    state: State = app.state.preceptor
    assert http.get(f"/v1/jobs/{seeds.queued}").json()["status"] == "queued"
    assert state.recent.get(seeds.queued) is None
    assert http.post(f"/v1/jobs/{seeds.queued}/cancel").status_code == 200
    assert http.get(f"/v1/jobs/{seeds.queued}").json()["status"] == "canceled"
