"""Child processes that run untrusted models: environment, memory limit, and the reason to report when they exit."""

import os
from pathlib import Path
from typing import Final

from service.sandbox.child_process import exit_cause
from service.sandbox.fork_server import ForkServer

LARGEST_WRITTEN: Final = 2**20
"""Bytes of a file that such a process may write: torch tries whether a temporary file can be written."""
_BASE_MEMORY: Final = 6 * 2**30  # importing torch alone maps about 2 GiB of addresses
_FILES_IN_MEMORY: Final = 5  # parsed, checked, serialised again, optimised, and one to spare


def variables(threads: int | None, device: str) -> dict[str, str]:
    """What the environment of a child holds beyond the paths.

    Parameters
    ----------
    device
        The GPUs are visible unless this is ``cpu``.
    """
    found = {"OMP_NUM_THREADS": str(threads or 1), "HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    if device == "cpu":
        found["CUDA_VISIBLE_DEVICES"] = ""
    elif (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        found["CUDA_VISIBLE_DEVICES"] = visible
    return found


def fork_server(threads: int | None, device: str) -> ForkServer:
    """Starts the children of one worker."""
    return ForkServer(variables(threads, device))


def memory_for(folder: Path) -> int:
    """Address space for a model with these files: 6 GiB and five times their size."""
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return _BASE_MEMORY + _FILES_IN_MEMORY * size


def cause_of_end(code: int, doing: str = "loaded") -> str:
    """What to tell of a child that has ended by itself."""
    return (
        f"the model ended the process that {doing} it ({exit_cause(code)}; out of memory?); register a smaller "
        "model, or export it again"
    )
