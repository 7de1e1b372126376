"""Child processes that see a stranger's file: a bare environment, and a start apart from our terminal and streams."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_KEPT: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_WITHOUT_THREADS: Final = {
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Libraries start threads when they are imported, and a process that has some cannot be forked safely."""


def start(
    module: str,
    folder: Path,
    variables: Mapping[str, str],
    *,
    socket: int | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a module as a process of its own, with nothing of our environment but the paths.

    Parameters
    ----------
    folder
        The child's current folder.
    variables
        As for `environment`.
    socket
        A descriptor that the child gets; its number is the child's argument.
    stdin, stdout
        As for Popen.
    """
    return subprocess.Popen(
        # -P: the current folder, where a stranger's files may lie, is no place to import from.
        [sys.executable, "-P", "-m", module, *([] if socket is None else [str(socket)])],
        stderr=subprocess.DEVNULL,
        env=environment(variables),
        cwd=folder,
        start_new_session=True,
        pass_fds=() if socket is None else (socket,),
        stdin=stdin,
        stdout=stdout,
    )


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What a child knows of our environment: no secrets are among it. `variables` are added."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    return (
        kept
        | {
            "PYTHONPATH": os.pathsep.join([root, *(entry for entry in sys.path if entry)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MALLOC_ARENA_MAX": "2",
        }
        | _WITHOUT_THREADS
        | dict(variables)
    )


def end(child: "subprocess.Popen[bytes]") -> int:
    """Kill a child, if it still lives, and all that it has started. Its exit status."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    return child.wait()


def exit_cause(code: int) -> str:
    """What an exit status, as of Popen, says."""
    if code >= 0:
        return f"status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"
