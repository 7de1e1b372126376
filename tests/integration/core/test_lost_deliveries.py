"""A worker that was cut off from Redis alone goes on and reaches the store: nothing of what it writes stays."""

from pathlib import Path
from typing import Any

import pytest

from preceptor.contract.distillations import Accuracy
from preceptor.contract.ids import DISTILLATION, RECOMMENDATION, new_id
from preceptor.contract.recommendations import RecommendationBody
from service.core.errors import StateUnavailable
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State
from worker.jobs.context import JobContext, Stopped
from worker.jobs.distill import hand_over

pytestmark = pytest.mark.anyio
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})


class Learnt:
    """What `hand_over` reads of an outcome."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.with_teacher = Accuracy(mean=0.5, per_seed=[0.5])
        self.gain = None
        self.verdict = "not compared"
        self.artifacts = [folder / "model.safetensors"]
        self.artifacts[0].write_bytes(b"weights")


def artifacts(settings: Settings) -> list[Path]:
    return [path for path in (settings.data / "store" / "students").rglob("*") if path.is_file()]


async def running(state: State) -> tuple[str, JobContext]:
    await state.ensure_index()
    id = new_id(DISTILLATION)
    await state.jobs.submit(id, "distillation", REQUEST)
    taken = await state.jobs.leases.take(id, "cut off")
    return id, JobContext(state, id, taken.fence)


async def taken_over(state: State, id: str) -> None:
    """Another worker has ended the job, and removed what it found of others."""
    await state.client.zadd(keys.leases("distill"), {id: 1})
    taken = await state.jobs.leases.take(id, "another")
    assert taken.code == "taken"
    assert await state.jobs.leases.succeed(id, taken.fence, REQUEST)


async def test_a_student_of_a_job_that_was_taken_over_is_removed(settings: Settings, tmp_path: Path) -> None:
    async with State(settings) as state:
        id, context = await running(state)
        await taken_over(state, id)
        with pytest.raises(Stopped):
            await hand_over(context, "student", ["a", "b"], Learnt(tmp_path / "files"), tmp_path / "files")  # pyright: ignore[reportArgumentType]
        await state.jobs.leases.abandon(id, context.fence)
        await context.close()
        assert artifacts(settings) == []
        assert [key async for key in state.store.list(f"jobs/{id}/") if f"/{context.fence}/" in key] == []


async def test_also_where_it_was_taken_over_while_it_was_written(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with State(settings) as state:
        id, context = await running(state)
        put = state.students.put

        async def late(document: Any) -> None:
            await taken_over(state, id)
            await put(document)

        monkeypatch.setattr(state.students, "put", late)
        with pytest.raises(Stopped):
            await hand_over(context, "student", ["a", "b"], Learnt(tmp_path / "files"), tmp_path / "files")  # pyright: ignore[reportArgumentType]
        await context.close()
        assert artifacts(settings) == []
        assert (await state.students.page(None, 10))[0] == []


async def test_a_student_that_could_not_be_registered_leaves_no_files(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with State(settings) as state:
        _, context = await running(state)

        async def refused(document: Any) -> None:
            raise StateUnavailable("Redis does not answer")

        monkeypatch.setattr(state.students, "put", refused)
        with pytest.raises(StateUnavailable):
            await hand_over(context, "student", ["a", "b"], Learnt(tmp_path / "files"), tmp_path / "files")  # pyright: ignore[reportArgumentType]
        await context.close()
        assert artifacts(settings) == []


async def test_what_may_still_go_on_is_not_abandoned(settings: Settings) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id = new_id(RECOMMENDATION)
        await state.jobs.submit(id, "recommendation", REQUEST)
        taken = await state.jobs.leases.take(id, "a worker")
        await state.jobs.leases.note_student(id, taken.fence, "stu_1")
        await state.jobs.leases.abandon(id, taken.fence)
        assert [key async for key in state.store.list(f"jobs/{id}/") if key.endswith("/student")]
