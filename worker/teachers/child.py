"""Child processes that see a stranger's model: a bare environment, and caps on memory, time and files."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_BASE_MEMORY: Final = 6 * 2**30  # importing torch alone maps about 2 GiB of addresses
_FILES_IN_MEMORY: Final = 5  # parsed, checked, serialised again, optimised, and one to spare
_LARGEST_WRITTEN: Final = 2**20  # torch tries whether a temporary file can be written
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


def start(
    module: str,
    folder: Path,
    *,
    threads: int,
    device: str = "cpu",
    socket: int | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a module of this package as a process of its own, with nothing of the worker's environment but the paths.

    Parameters
    ----------
    folder
        The files of the model; the child's current folder.
    device
        The GPUs are visible unless this is ``cpu``.
    socket
        A descriptor that the child gets; its number is the child's argument.
    stdin, stdout
        As for Popen.
    """
    return subprocess.Popen(
        # -P: the current folder, where the files lie, is no place to import from.
        [sys.executable, "-P", "-m", module, *([] if socket is None else [str(socket)])],
        stderr=subprocess.DEVNULL,
        env=environment(threads, device),
        cwd=folder,
        start_new_session=True,
        pass_fds=() if socket is None else (socket,),
        stdin=stdin,
        stdout=stdout,
    )


def environment(threads: int, device: str) -> dict[str, str]:
    """What a child knows of the worker's environment: no secrets are among it."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    found = kept | {
        "PYTHONPATH": os.pathsep.join([root, *(entry for entry in sys.path if entry)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": str(threads),
        "MALLOC_ARENA_MAX": "2",
        "HF_HUB_OFFLINE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    if device == "cpu":
        found["CUDA_VISIBLE_DEVICES"] = ""
    elif (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        found["CUDA_VISIBLE_DEVICES"] = visible
    return found


def memory_for(folder: Path) -> int:
    """Address space for a model with these files: 6 GiB and five times their size."""
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return _BASE_MEMORY + _FILES_IN_MEMORY * size


def limit(memory: int | None) -> None:
    """Limit this process, for good: no core files, no large files, and so many bytes of address space."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_WRITTEN, _LARGEST_WRITTEN))
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def limit_time(seconds: int) -> None:
    """End this process when it has computed for so long from now on.

    Should the worker itself be killed while the model hangs, nobody else would end it.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds, resource.RLIM_INFINITY))


def end(child: "subprocess.Popen[bytes]") -> int:
    """Kill a child, if it still lives, and all that it has started. Its exit status."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    return child.wait()


def epitaph(code: int, doing: str = "loaded") -> str:
    """What to tell of a child that has ended by itself."""
    how = signal.Signals(-code).name if code < 0 else f"status {code}"
    return (
        f"the model ended the process that {doing} it ({how}; out of memory?); register a smaller model, or export "
        f"it again"
    )
