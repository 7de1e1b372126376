"""A host that lost power leaves empty or cut files: they are passed over, and everything else is found."""

from pathlib import Path
from typing import Any, cast

import pytest
import structlog

from preceptor.contract.base import now
from preceptor.contract.ids import LABEL_SET, RECOMMENDATION, TEACHER, VALIDATION, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.labels import LabelSet
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.validations import ValidationBody
from service.core.api_keys import ApiKeys
from service.core.errors import PreceptorError
from service.core.jobs.stored import outcome_key, request_key
from service.core.redis import keys as redis_keys
from service.core.settings import Settings
from service.core.state import State

pytestmark = pytest.mark.anyio
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})
DAMAGED = (b"", b'{"id": "re', b"\0" * 100)


def label_set(name: str) -> LabelSet:
    return LabelSet(id=new_id(LABEL_SET), labels=["cat", name], created_at=now())


@pytest.mark.parametrize("damage", DAMAGED)
async def test_a_lost_redis_is_filled_again_although_objects_are_damaged(settings: Settings, damage: bytes) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        sound, broken = label_set("dog"), label_set("cow")
        jobs = [new_id(RECOMMENDATION) for _ in range(3)]
        for each in (sound, broken):
            await state.label_sets.create(each)
        for id in jobs:
            await state.jobs.submit(id, "recommendation", REQUEST)
        taken = await state.jobs.leases.take(jobs[2], "a worker")
        assert await state.jobs.leases.succeed(jobs[2], taken.fence, REQUEST)
        await state.store.put(f"label-sets/{broken.id}/record.json", damage)
        await state.store.put(request_key(jobs[0]), damage)
        await state.store.put(outcome_key(jobs[2]), damage)
        await cast(Any, state.client).flushall()
        with structlog.testing.capture_logs() as logs:
            await state.reap()
        keys = {line["key"] for line in logs if "cannot be read" in line["event"]}
        assert keys >= {f"label-sets/{broken.id}/record.json", request_key(jobs[0]), outcome_key(jobs[2])}
        assert [each.id for each in (await state.label_sets.page(None, 10))[0]] == [sound.id]
        assert await state.label_sets.get(broken.id) is None
        found = [await state.jobs.get(id) for id in jobs]
        # The one whose end cannot be read is done again.
        assert [job and job.status for job in found] == [None, JobStatus.QUEUED, JobStatus.QUEUED]


async def test_a_document_of_known_content_mends_what_is_damaged(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        document = label_set("dog")
        await state.store.put(f"label-sets/{document.id}/record.json", b"")
        found, made = await state.label_sets.create(document)
        assert (found, made) == (document, True)
        assert await state.label_sets.stored(document.id) == document


async def test_a_damaged_end_is_replaced_by_the_next(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id = new_id(RECOMMENDATION)
        await state.jobs.submit(id, "recommendation", REQUEST)
        taken = await state.jobs.leases.take(id, "a worker")
        await state.store.put(outcome_key(id), b"")
        assert await state.jobs.leases.succeed(id, taken.fence, REQUEST)
        outcome = await state.jobs.records.outcome(id)
        assert outcome is not None
        assert outcome.status is JobStatus.SUCCEEDED


async def test_a_damaged_request_is_told_and_not_taken_for_a_withdrawn_one(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id = new_id(RECOMMENDATION)
        await state.jobs.submit(id, "recommendation", REQUEST)
        await state.store.put(request_key(id), b"")
        with pytest.raises(PreceptorError, match="cannot be read"):
            await state.jobs.records.stored(id)


async def test_what_a_deletion_left_is_removed_by_asking_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        document = label_set("dog")
        await state.label_sets.create(document)
        await state.store.put(f"{state.label_sets.folder(document.id)}items", b"large")

        async def killed(prefix: str) -> None:
            raise ConnectionResetError(prefix)

        with monkeypatch.context() as context:
            context.setattr(state.store, "delete_prefix", killed)
            with pytest.raises(ConnectionResetError):
                await state.label_sets.delete(document.id)
        assert await state.label_sets.get(document.id) is not None
        await state.label_sets.delete(document.id)
        assert await state.label_sets.get(document.id) is None
        assert not list(Path(settings.data, "store").rglob("items"))


async def test_a_damaged_validation_does_not_hold_up_what_is_announced(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        validation, other = new_id(VALIDATION), new_id(RECOMMENDATION)
        await state.jobs.submit(validation, "validation", ValidationBody(teacher=new_id(TEACHER)))
        await state.jobs.submit(other, "recommendation", REQUEST)
        for id in (validation, other):
            await state.jobs.cancel(id)
        await state.store.put(request_key(validation), b"")
        await state.reap()
        assert await cast(Any, state.client).scard(redis_keys.UNANNOUNCED) == 0


async def test_a_damaged_key_lets_nobody_in_and_opens_nothing(settings: Settings) -> None:
    async with State(settings) as state:
        key, text = await state.api_keys.mint("operator", "admin")
        for path in [path async for path in state.store.list("")]:
            if key.id in path:
                await state.store.put(path, b"")
            else:
                await state.store.delete(path)
        keys = ApiKeys(state.store)
        assert await keys.verified(text) is None
        assert [each async for each in keys.all()] == []
        assert await keys.ever()
