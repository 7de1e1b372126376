"""Validates a teacher in a process of its own: a file that crashes, hangs or eats memory ends only that process.

The child gets the registration on its standard input and answers on its standard output. It sees no secrets
of the worker (a bare environment), cannot write a file beyond a megabyte, and has a cap on memory and time.
"""

import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from preceptor.contract.teachers import Teacher, TeacherStatus

from .validation import Verdict, validate_teacher

_BASE_MEMORY: Final = 6 * 2**30  # importing torch alone maps about 2 GiB of addresses
_FILES_IN_MEMORY: Final = 5  # parsed, checked, serialised again, optimised, and one to spare
_LARGEST_WRITTEN: Final = 2**20  # torch tries whether a temporary file can be written
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


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
        Cap on the child's address space; None: 6 GiB and five times the size of the files.
    timeout_seconds
        The child is killed after so long.
    """
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    request = {
        "teacher": teacher.model_dump(mode="json"),
        "folder": str(folder.absolute()),
        "threads": threads or 1,
        "seconds": math.ceil(timeout_seconds) * (threads or 1) + 5,
        "memory": memory_bytes or _BASE_MEMORY + _FILES_IN_MEMORY * size,
    }
    child = subprocess.Popen(
        # -P: the current folder, where the files lie, is no place to import from.
        [sys.executable, "-P", "-m", "worker.teachers.isolated"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(threads or 1),
        cwd=folder,
        start_new_session=True,
    )
    try:
        answer, _ = child.communicate(json.dumps(request).encode(), timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        return Verdict.rejected(
            f"the model did not answer the sample within {timeout_seconds:g} seconds; register a smaller model"
        )
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    return _read_answer(answer, child.returncode)


def _environment(threads: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    return kept | {
        "PYTHONPATH": os.pathsep.join([root, *(entry for entry in sys.path if entry)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": str(threads),
        "MALLOC_ARENA_MAX": "2",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _read_answer(answer: bytes, code: int) -> Verdict:
    try:
        told = json.loads(answer)
        return Verdict(**(told | {"status": TeacherStatus(told["status"])}))
    except (ValueError, KeyError, TypeError):
        return Verdict.rejected(_epitaph(code))


def _epitaph(code: int) -> str:
    how = signal.Signals(-code).name if code < 0 else f"status {code}"
    return (
        f"the model ended the process that loaded it ({how}; out of memory?); register a smaller model, or export "
        f"it again"
    )


def _child() -> None:
    # Libraries may print: the answer gets a descriptor of its own.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Should the worker itself be killed meanwhile, this ends the child.
    resource.setrlimit(resource.RLIMIT_CPU, (request["seconds"], request["seconds"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_WRITTEN, _LARGEST_WRITTEN))
    resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
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
