"""Child processes that read untrusted input: a minimal environment, separate from the parent's terminal and streams."""

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
"""Libraries that start threads at import are configured not to: forking a process with threads is not safe."""


def start(
    module: str,
    folder: Path,
    variables: Mapping[str, str],
    *,
    socket: int | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a module as a process, with only the paths of the parent's environment.

    Parameters
    ----------
    folder
        The child's working directory.
    variables
        As for `environment`.
    socket
        A file descriptor passed to the child; its number is the child's argument.
    stdin, stdout
        As in Popen.
    """
    return subprocess.Popen(
        # -P: the working directory may contain untrusted files, so it must not be on the import path.
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
    """The environment of a child: paths and locale, no secrets. `variables` are added."""
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
    """Kill a child and its process group if it is running. Returns its exit status."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    return child.wait()


def exit_cause(code: int) -> str:
    """An exit status, as in Popen, in words."""
    if code >= 0:
        return f"status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"
