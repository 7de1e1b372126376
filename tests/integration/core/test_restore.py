"""A copy of the store is a backup: in a new place, with an empty Redis, everything is there and goes on."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from preceptor.contract.audit import AuditEntry
from preceptor.contract.base import now
from preceptor.contract.distillations import Student
from preceptor.contract.ids import DISTILLATION, PROBE, RECOMMENDATION, STUDENT, TEACHER, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.labels import LabelSetBody
from preceptor.contract.probes import Probe
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.teachers import Teacher, TeacherStatus, TransformersSource
from service.core.errors import JobFailed
from service.core.labels import label_sets
from service.core.redis.embedded import EmbeddedRedis
from service.core.settings import Settings
from service.core.state import State
from service.core.storage import object_keys
from worker.jobs.consumer import Consumer
from worker.jobs.context import JobContext

pytestmark = pytest.mark.anyio
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})
CONTENT = bytes(range(256)) * 400


class Answer(BaseModel):
    value: int


@pytest.fixture
def other_redis() -> Iterator[EmbeddedRedis]:
    """An empty server of the new place."""
    folder = Path(tempfile.mkdtemp(prefix="preceptor-redis-"))
    server = EmbeddedRedis(folder)
    server.ensure()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Deployment:
    """What stood in the store when it was copied."""

    teacher: Teacher
    probe: Probe
    student: Student
    audit: AuditEntry
    label_set: str
    key: str
    jobs: dict[str, str] = field(default_factory=dict[str, str])


async def used(state: State) -> Deployment:
    """A deployment in the middle of its work: every kind of record, and jobs of every fate."""
    moment = now()
    teacher = Teacher(
        id=new_id(TEACHER), name="pets", status=TeacherStatus.READY, source=TransformersSource(), modality="image",
        labels=["cat", "dog"], created_at=moment, updated_at=moment,
    )  # fmt: skip
    probe = Probe(
        id=new_id(PROBE), modality="features", items=4, labelled=True, format="npz", size=100, created_at=moment
    )
    student = Student(
        id=new_id(STUDENT), distillation=new_id(DISTILLATION), name="small", labels=["cat"], artifacts=[],
        created_at=moment,
    )  # fmt: skip
    audit = AuditEntry(
        id=student.distillation, recommendation=new_id(RECOMMENDATION), data=probe.id, teacher=teacher.id,
        name="pets", rank=1, of=3, scores={"label_transport": 0.25}, created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    await state.teachers.put(teacher)
    await state.store.put(object_keys.teacher_file(teacher.id, "model.safetensors"), CONTENT)
    await state.probes.put(probe)
    await state.store.put(object_keys.probe_items(probe.id), CONTENT)
    await state.students.put(student)
    await state.audits.put(audit)
    label_set = (await label_sets.register(state, LabelSetBody(labels=["cat", "dog"])))[0]
    _, key = await state.api_keys.mint("operator", "admin")
    made = Deployment(teacher, probe, student, audit, label_set.id, key)
    for name in ("succeeded", "failed", "canceled", "queued", "running", "canceling"):
        made.jobs[name] = new_id(RECOMMENDATION)
        await state.jobs.submit(made.jobs[name], "recommendation", REQUEST)
    for name in ("succeeded", "failed", "running", "canceling"):
        job = made.jobs[name]
        fence = (await state.jobs.leases.take(job, "here-1")).fence
        if name == "succeeded":
            assert await state.jobs.leases.succeed(job, fence, Answer(value=42))
        elif name == "failed":
            assert await state.jobs.leases.fail(job, fence, JobFailed("no teacher could be ranked").problem(job))
        else:
            assert await state.jobs.leases.save_checkpoint(job, fence, CONTENT)
    for name in ("canceled", "canceling"):
        await state.jobs.cancel(made.jobs[name])
    return made


@pytest.fixture
async def restored(settings: Settings, other_redis: EmbeddedRedis, tmp_path: Path) -> tuple[Settings, Deployment]:
    """The settings of a new place, which holds a copy of a used store and nothing else. The old one is gone."""
    async with State(settings) as state:
        await state.ensure_index()
        made = await used(state)
    there = tmp_path / "there"
    shutil.copytree(settings.data / "store", there / "store")
    shutil.rmtree(settings.data)
    return settings.model_copy(update={"data": there, "redis_url": other_redis.url}), made


async def _end(state: State, id: str) -> JobStatus:
    async for _ in state.events.wake_ups(id):
        job = await state.jobs.get(id)
        assert job is not None
        if job.status.terminal:
            return job.status
    raise AssertionError


async def test_every_record_is_found_again(restored: tuple[Settings, Deployment]) -> None:
    settings, made = restored
    async with State(settings) as state:
        await state.reap()
        assert await state.teachers.get(made.teacher.id) == made.teacher
        assert (await state.teachers.page(None, 10))[0] == [made.teacher]
        assert await state.store.get(object_keys.teacher_file(made.teacher.id, "model.safetensors")) == CONTENT
        assert (await state.probes.page(None, 10))[0] == [made.probe]
        assert await state.store.get(object_keys.probe_items(made.probe.id)) == CONTENT
        assert (await state.students.page(None, 10))[0] == [made.student]
        assert (await state.audits.page(None, 10))[0] == [made.audit]
        assert [found.id for found in (await state.label_sets.page(None, 10))[0]] == [made.label_set]
        key = await state.api_keys.verified(made.key)
        assert key is not None
        assert key.name == "operator"


async def test_every_job_is_found_as_it_stood(restored: tuple[Settings, Deployment]) -> None:
    settings, made = restored
    async with State(settings) as state:
        await state.reap()
        found = {name: await state.jobs.get(id) for name, id in made.jobs.items()}
        assert {name: job.status.value for name, job in found.items() if job is not None} == {
            "succeeded": "succeeded",
            "failed": "failed",
            "canceled": "canceled",
            "queued": "queued",
            "running": "queued",
            "canceling": "canceled",
        }
        assert await state.jobs.records.result(made.jobs["succeeded"]) == b'{"value":42}'
        failed = found["failed"]
        assert failed is not None
        assert failed.error is not None
        assert failed.error.detail == "no teacher could be ranked"
        assert await state.jobs.records.request(made.jobs["queued"]) == REQUEST.model_dump(mode="json")
        listed, _ = await state.jobs.page(None, 10, None, None)
        assert [job.id for job in listed] == sorted(made.jobs.values(), reverse=True)
        assert await state.lane_backlog("recommend") == (2, pytest.approx(0, abs=20))


async def test_jobs_without_an_end_are_done_in_the_new_place(restored: tuple[Settings, Deployment]) -> None:
    settings, made = restored
    checkpoints: dict[str, bytes | None] = {}

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        checkpoints[context.job_id] = await context.compute(context.load)
        return Answer(value=7)

    async with State(settings) as state:
        await state.reap()
        consumer = Consumer(state, "recommend", {"recommendation": task})
        working = asyncio.create_task(consumer.run())
        try:
            async with asyncio.timeout(20):
                for name in ("queued", "running"):
                    assert await _end(state, made.jobs[name]) == JobStatus.SUCCEEDED
                    assert await state.jobs.records.result(made.jobs[name]) == b'{"value":7}'
        finally:
            consumer.drain()
            await asyncio.wait_for(working, 20)
        assert await state.jobs.records.result(made.jobs["succeeded"]) == b'{"value":42}', (
            "what was done is not done again"
        )
    assert checkpoints == {made.jobs["queued"]: None, made.jobs["running"]: CONTENT}
