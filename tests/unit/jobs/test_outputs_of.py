"""A teacher's outputs are the same from its run and from the cache: equal jobs must have equal results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from preceptor.contract.base import now
from preceptor.contract.teachers import Teacher
from worker.jobs import teacher_access
from worker.jobs.teacher_access import OutputsOf
from worker.teachers.outputs import TeacherOutputs


class Memory:
    """A job's context whose cache is a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def cached(self, kind: str, digest: str) -> bytes | None:
        return self.kept.get(digest)

    def cache(self, kind: str, digest: str, value: bytes) -> None:
        self.kept[digest] = value

    def should_stop(self) -> bool:
        return False

    def check(self) -> None:
        pass


class Loaded:
    """Hands out a teacher that is never looked at."""

    batch_size = 4

    @contextmanager
    def using(self, teacher: Teacher, folder: Path, check: Callable[[], None]) -> Iterator[None]:
        yield None


class Probe:
    """Feature vectors."""

    modality = "features"
    items = 6

    def batches(self, size: int) -> Iterator[None]:
        yield from ()


TEACHER = Teacher.model_validate(
    {
        "id": "tch_01m844bs953px3vtdhwqptdgqe",
        "name": "t",
        "modality": "features",
        "source": {"kind": "predictions"},
        "labels": ["a", "b", "c"],
        "status": "ready",
        "digest": "0" * 64,
        "created_at": now(),
        "updated_at": now(),
        "files": [],
        "tags": [],
        "revision": 1,
    }
).model_copy(update={"source": type("Source", (), {"kind": "onnx"})()})


@pytest.mark.parametrize("features", [None, (6, 5)])
def test_the_first_job_sees_what_later_ones_see(monkeypatch: pytest.MonkeyPatch, features: Any) -> None:
    generator = np.random.default_rng(0)
    made = TeacherOutputs(
        generator.normal(size=(6, 3)).astype(np.float32),
        None if features is None else generator.normal(size=features).astype(np.float32),
    )
    monkeypatch.setattr(teacher_access, "run_teacher", lambda *given, **more: made)
    context = cast(Any, Memory())
    outputs = OutputsOf(context, cast(Any, Loaded()))
    first, was_cached = outputs.over(TEACHER, Path(), None, "prb_x", cast(Any, Probe()))
    second, is_cached = outputs.over(TEACHER, Path(), None, "prb_x", cast(Any, Probe()))
    assert (was_cached, is_cached) == (False, True)
    assert np.array_equal(first.logits, second.logits)
    np.testing.assert_allclose(first.logits, made.logits, rtol=1e-3)
    if features is not None:
        assert first.features is not None
        assert second.features is not None
        assert np.array_equal(first.features, second.features)
        # The rounding of the cache is real: without it this test could not fail.
        assert not np.array_equal(first.features, cast(Any, made.features))
