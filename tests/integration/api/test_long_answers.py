"""Answers that are too long to be remembered are made again for a replay, from what is there."""

import asyncio
from typing import Any

import httpx2
import pytest
import redis
from fastapi import FastAPI

from service.core.settings import Settings
from service.core.state import State
from tests.integration.api.seeds import finish

LABELS = [f"class number {number:05d}" for number in range(2000)]
KEY = {"Idempotency-Key": "k"}
TEACHER = {"name": "long", "source": {"kind": "predictions"}, "modality": "image", "labels": LABELS}
RANKING = {"student": {"labels": LABELS}, "candidates": [{"name": "zoo", "labels": ["lion", "wolf"]}]}
HOOK = {"url": "https://hooks.example.com/preceptor"}


def remembered(settings: Settings) -> int:
    """Bytes that Redis holds for Idempotency-Keys."""
    with redis.from_url(str(settings.redis_url), decode_responses=True) as client:
        return sum(
            len(text)
            for key in client.scan_iter("preceptor:idempotency:*")
            for text in client.hgetall(key).values()  # type: ignore[union-attr]
        )


def same(first: httpx2.Response, again: httpx2.Response) -> bool:
    """Whether a replay is the first answer, but for what tells that it is one."""
    kept = ("location", "etag", "content-type", "cache-control", "retry-after", "preference-applied")
    assert again.headers["idempotency-replayed"] == "true"
    return (first.status_code, first.content, [first.headers.get(name) for name in kept]) == (
        again.status_code,
        again.content,
        [again.headers.get(name) for name in kept],
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/label-sets", {"labels": LABELS}), ("/v1/teachers", TEACHER), ("/v1/recommendations", RANKING)],
)
def test_the_replay_is_the_same_and_redis_holds_no_body(
    http: httpx2.Client, settings: Settings, path: str, body: dict[str, Any]
) -> None:
    first = http.post(path, json=body, headers=KEY)
    assert first.status_code in (201, 202)
    assert len(first.content) > 30_000
    assert remembered(settings) < 1000
    assert same(first, http.post(path, json=body, headers=KEY))
    assert http.post(path, json={**body, "x": 1}, headers=KEY).status_code == 422


def test_a_probe_with_many_classes_is_the_same_too(http: httpx2.Client, settings: Settings) -> None:
    content = ("text,label\n" + "".join(f"item {label},{label}\n" for label in LABELS)).encode()
    first = http.post("/v1/probes?format=csv", content=content, headers=KEY)
    assert first.status_code == 201, first.text
    assert len(first.content) > 30_000
    assert remembered(settings) < 1000
    assert same(first, http.post("/v1/probes?format=csv", content=content, headers=KEY))


def test_short_answers_are_kept_as_they_were(http: httpx2.Client) -> None:
    short = {**TEACHER, "labels": ["cat", "dog"]}
    first = http.post("/v1/teachers", json=short, headers=KEY)
    assert http.patch(first.headers["location"], json={"name": "other"}).status_code == 200
    assert same(first, http.post("/v1/teachers", json=short, headers=KEY))
    assert http.delete(first.headers["location"]).status_code == 204
    assert same(first, http.post("/v1/teachers", json=short, headers=KEY))


def test_what_has_changed_is_shown_as_it_is(http: httpx2.Client) -> None:
    first = http.post("/v1/teachers", json=TEACHER, headers=KEY)
    assert http.patch(first.headers["location"], json={"name": "other"}).status_code == 200
    again = http.post("/v1/teachers", json=TEACHER, headers=KEY)
    shown = http.get(first.headers["location"])
    assert (again.status_code, again.json()["name"]) == (201, "other")
    assert (again.content, again.headers["etag"]) == (shown.content, shown.headers["etag"])


def test_a_job_that_has_gone_on_is_shown_as_it_is(http: httpx2.Client, app: FastAPI, settings: Settings) -> None:
    first = http.post("/v1/recommendations", json=RANKING, headers={**KEY, "Prefer": "wait=0.01"})
    assert first.status_code == 202

    async def end() -> None:
        async with State(settings) as state:
            await finish(state, first.json()["id"])

    asyncio.run(end())
    again = http.post("/v1/recommendations", json=RANKING, headers=KEY)
    assert (again.status_code, again.json()["status"]) == (202, "succeeded")
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["retry-after"] == "1"
    assert again.content == http.get(first.headers["location"]).content
    assert len(http.get("/v1/jobs").json()["items"]) == 1


def test_what_was_removed_is_a_conflict(http: httpx2.Client) -> None:
    first = http.post("/v1/label-sets", json={"labels": LABELS}, headers=KEY)
    assert http.delete(first.headers["location"]).status_code == 204
    again = http.post("/v1/label-sets", json={"labels": LABELS}, headers=KEY)
    assert again.status_code == 409
    assert first.json()["id"] in again.json()["detail"]
    assert http.get("/v1/label-sets").json()["items"] == []
    assert http.post("/v1/label-sets", json={"labels": LABELS}, headers={"Idempotency-Key": "k2"}).status_code == 201


def test_a_secret_is_in_no_remembered_answer(http: httpx2.Client, settings: Settings) -> None:
    first = http.post("/v1/webhooks", json=HOOK, headers=KEY)
    assert first.status_code == 201
    with redis.from_url(str(settings.redis_url), decode_responses=True) as client:
        (entry,) = client.scan_iter("preceptor:idempotency:*")
        assert "whsec_" not in str(client.hgetall(entry))
    # Who has not got the first answer needs it from the second.
    assert same(first, http.post("/v1/webhooks", json=HOOK, headers=KEY))
    assert http.delete(first.headers["location"]).status_code == 204
    gone = http.post("/v1/webhooks", json=HOOK, headers=KEY)
    assert gone.status_code == 409
    assert "whsec_" not in gone.text
