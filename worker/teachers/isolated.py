"""Validates a teacher in a process of its own: a file that crashes, hangs or eats memory ends only that process.

The child gets the registration on its standard input and answers on its standard output. It sees no secrets
of the worker (a bare environment), cannot write a file beyond a megabyte, and has a cap on memory and time.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

from preceptor.contract.teachers import Teacher, TeacherStatus
from service.sandbox.child_process import end, start
from service.sandbox.limits import limit, limit_time

from . import child_limits
from .validation import Verdict, validate_teacher


def validate_isolated(
    teacher: Teacher,
    folder: Path,
    *,
    threads: int | None = None,
    memory_bytes: int | None = None,
    timeout_seconds: float = 120.0,
) -> Verdict:
    """As `validate_teacher`, in a child process on the CPU.

    Parameters
    ----------
    memory_bytes
        Cap on the child's address space; None: as `child.memory_for` says.
    timeout_seconds
        The child is killed after so long.
    """
    request = {
        "teacher": teacher.model_dump(mode="json"),
        "folder": str(folder.absolute()),
        "threads": threads or 1,
        "seconds": math.ceil(timeout_seconds) * (threads or 1) + 5,
        "memory": memory_bytes or child_limits.memory_for(folder),
    }
    process = start(
        "worker.teachers.isolated",
        folder,
        child_limits.variables(threads, "cpu"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        answer, _ = process.communicate(json.dumps(request).encode(), timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        return Verdict.rejected(
            f"the model did not answer the sample within {timeout_seconds:g} seconds; register a smaller model"
        )
    finally:
        end(process)
    return _read_answer(answer, process.returncode)


def _read_answer(answer: bytes, code: int) -> Verdict:
    try:
        told = json.loads(answer)
        return Verdict(**(told | {"status": TeacherStatus(told["status"])}))
    except (ValueError, KeyError, TypeError):
        return Verdict.rejected(child_limits.epitaph(code))


def _child() -> None:
    # Libraries may print: the answer gets a descriptor of its own.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    request = json.load(sys.stdin)
    limit_time(request["seconds"])
    limit(request["memory"], written=child_limits.LARGEST_WRITTEN)
    verdict = validate_teacher(
        Teacher.model_validate(request["teacher"]),
        Path(request["folder"]),
        device="cpu",
        threads=request["threads"],
        isolate=False,
    )
    with pipe:
        pipe.write(json.dumps(verdict.to_json()).encode())


if __name__ == "__main__":
    _child()
