"""After a job, copies that nobody needs go; no fault there fails the job."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from service.core.errors import StateUnavailable
from service.core.storage.local_cache import LocalCache
from worker.jobs.tasks import with_copies

pytestmark = pytest.mark.anyio


class Done(BaseModel):
    """A result."""


class Teachers:
    """Knows one teacher, or does not answer."""

    answers = True

    async def get(self, id: str) -> object | None:
        if not self.answers:
            raise StateUnavailable("Redis is away")
        return object() if id == "tch_kept" else None


async def test_the_model_of_a_deleted_teacher_goes_after_a_job_that_fetched(tmp_path: Path) -> None:
    scratch, teachers = LocalCache(tmp_path, 2**30, grace=0), Teachers()
    context: Any = SimpleNamespace(state=SimpleNamespace(teachers=teachers, store=SimpleNamespace(copies=scratch)))

    async def task(_context: Any, request: dict[str, Any]) -> BaseModel:
        for id in request["ids"]:
            path = scratch.use("hub", id)
            path.mkdir(exist_ok=True)
            (path / "config.json").write_text("{}")
            scratch.trim(gone=[id])
            assert path.exists(), "it is used"
        return Done()

    run = with_copies(task)
    await run(context, {"ids": ["tch_kept", "tch_deleted"]})
    assert scratch.hub_copies() == ["tch_kept"]
    teachers.answers = False
    await run(context, {"ids": ["tch_deleted"]})
    assert sorted(scratch.hub_copies()) == ["tch_deleted", "tch_kept"]
    teachers.answers = True
    with pytest.raises(RuntimeError):
        await with_copies(_fails)(context, {})
    await run(context, {"ids": ["tch_later"]})
    assert scratch.hub_copies() == ["tch_kept"]


async def _fails(_context: Any, _request: dict[str, Any]) -> BaseModel:
    raise RuntimeError
