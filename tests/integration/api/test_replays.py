"""A request that is repeated with its Idempotency-Key, after a try that could not say what became of it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import httpx2
import pytest
from fastapi import FastAPI

from preceptor.contract.ids import RECOMMENDATION, new_id
from preceptor.contract.recommendations import RecommendationBody
from service.core.jobs.idempotency import StoredAnswer
from service.core.redis import keys as redis_keys
from service.core.settings import Settings
from service.core.state import State
from service.http.idempotency import form_of

T = TypeVar("T")
BODY = {"student": {"labels": ["cat", "dog"]}, "candidates": [{"name": "zoo", "labels": ["lion", "wolf"]}]}
KEY = {"Idempotency-Key": "again"}


def with_state(settings: Settings, work: Callable[[State], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        async with State(settings) as state:
            await state.ensure_index()
            return await work(state)

    return asyncio.run(run())


def jobs(http: httpx2.Client) -> list[str]:
    return [item["id"] for item in http.get("/v1/jobs").json()["items"]]


def forget_answers(settings: Settings) -> None:
    """As if the service had been killed before it kept them."""

    async def work(state: State) -> None:
        async for key in state.client.scan_iter(redis_keys.idempotency("*")):
            await cast(Any, state.client).hdel(key, "answer")

    with_state(settings, work)


def test_what_was_accepted_is_not_accepted_again_although_the_lane_is_full(
    http: httpx2.Client, app: FastAPI, settings: Settings
) -> None:
    first = http.post("/v1/recommendations", json=BODY, headers=KEY)
    assert first.status_code == 202
    forget_answers(settings)
    app.state.preceptor.settings.max_queue = 1
    assert http.post("/v1/recommendations", json=BODY).status_code == 429
    again = http.post("/v1/recommendations", json=BODY, headers=KEY)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert jobs(http) == [first.json()["id"]]


def test_what_was_accepted_stays_so_although_what_it_used_is_gone(http: httpx2.Client, settings: Settings) -> None:
    label_set = http.post("/v1/label-sets", json={"labels": ["cat", "dog"]}).json()["id"]
    body = {**BODY, "student": label_set}
    first = http.post("/v1/recommendations", json=body, headers=KEY)
    assert first.status_code == 202, first.text
    forget_answers(settings)
    assert http.delete(f"/v1/label-sets/{label_set}").status_code == 204
    again = http.post("/v1/recommendations", json=body, headers=KEY)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


def test_a_refused_first_try_frees_its_key(http: httpx2.Client, app: FastAPI) -> None:
    app.state.preceptor.settings.max_queue = 0
    app.state.preceptor.jobs.records.waits["recommend"] = 1
    assert http.post("/v1/recommendations", json=BODY, headers=KEY).status_code == 429
    app.state.preceptor.settings.max_queue = 10
    other = {**BODY, "student": {"labels": ["cow", "dog"]}}
    assert http.post("/v1/recommendations", json=other, headers=KEY).status_code == 202


def test_the_first_answer_stands_and_none_is_kept_for_a_key_that_is_another_s_by_now(settings: Settings) -> None:
    async def work(state: State) -> None:
        keys, ours, theirs = state.idempotency, new_id(RECOMMENDATION), new_id(RECOMMENDATION)
        await keys.begin("scope", "key", "print", ours)
        await keys.complete("scope", "key", ours, StoredAnswer(202, {}, "first"))
        await keys.complete("scope", "key", ours, StoredAnswer(202, {}, "second"))
        await keys.abandon("scope", "key", ours)
        kept = (await keys.begin("scope", "key", "print", theirs)).answer
        assert kept is not None
        assert kept.body == "first"
        await cast(Any, state.client).flushall()
        await keys.complete("scope", "key", ours, StoredAnswer(202, {}, "late"))
        assert (await keys.begin("scope", "key", "other", theirs)).state == "new"
        await keys.complete("scope", "key", ours, StoredAnswer(202, {}, "late"))
        await keys.abandon("scope", "key", ours)
        begun = await keys.begin("scope", "key", "other", ours)
        assert (begun.state, begun.id, begun.answer) == ("resumed", theirs, None)

    with_state(settings, work)


def test_a_body_is_the_same_to_a_service_that_knows_more_fields() -> None:
    body = RecommendationBody.model_validate(BODY)
    newer = RecommendationBody.model_validate({**BODY, "priority": "normal"})
    assert form_of(body) == form_of(newer)
    assert '"priority"' not in form_of(body)
    assert form_of(RecommendationBody.model_validate({**BODY, "priority": "high"})) != form_of(body)


@pytest.mark.parametrize("max_jobs", [1])
def test_a_registration_that_a_quota_refuses_leaves_no_teacher(settings: Settings, max_jobs: int) -> None:
    from preceptor.contract.ids import TEACHER
    from preceptor.contract.teachers import PredictionsSource, TeacherBody
    from service.actions import teachers
    from service.core.api_keys import CALLER, Caller
    from service.core.errors import QuotaReached

    async def work(state: State) -> None:
        token = CALLER.set(Caller("someone", max_jobs=max_jobs))
        try:
            await state.jobs.submit(new_id(RECOMMENDATION), "recommendation", RecommendationBody.model_validate(BODY))
            box = TeacherBody(name="box", modality="text", labels=["x", "y"], source=PredictionsSource())
            with pytest.raises(QuotaReached):
                await teachers.register(state, box, new_id(TEACHER))
        finally:
            CALLER.reset(token)
        assert [each async for each in state.teachers.all()] == []

    with_state(settings, work)
