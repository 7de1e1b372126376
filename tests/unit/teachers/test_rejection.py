"""Reasons are one readable sentence."""

from pathlib import Path

import pytest

from worker.teachers.errors import TeacherUnusable, reason_of


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TeacherUnusable("as it is"), "as it is"),
        (MemoryError(), "needs more memory than a worker may use"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "more memory"),
        (RuntimeError("std::bad_alloc"), "more memory"),
        (ValueError(), "could not be loaded (ValueError)"),
        (ValueError("\n\n first line\nsecond line"), "(ValueError: first line)"),
        (OSError("/data/teachers/x/model.bin is broken"), "(OSError: model.bin is broken)"),
        (OSError("see /usr/lib/python3/site-packages/a.py now"), "(OSError: see a.py now)"),
        (ValueError("x" * 5000), "..."),
    ],
)
def test_any_exception_becomes_a_sentence(error: Exception, told: str) -> None:
    reason = reason_of(error, Path("/data/teachers/x"))
    assert told in reason
    assert "\n" not in reason
    assert len(reason) < 500
