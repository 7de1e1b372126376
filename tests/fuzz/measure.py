"""What a process may use and has used, from /proc (Linux)."""

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_STATUS: Final = Path("/proc/self/status")


def _bytes_of(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def resident() -> int:
    """Bytes of resident memory of this process."""
    return _bytes_of("VmRSS:")


def forget_peak() -> None:
    """Let the peak of resident memory start anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Most bytes of resident memory since `forget_peak`."""
    return _bytes_of("VmHWM:")


def descriptors() -> int:
    """Open files, pipes and sockets of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def cap_addresses(more: int) -> None:
    """Let this process map at most `more` bytes beyond what it has mapped; what asks for more gets an error."""
    limit = _bytes_of("VmSize:") + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def lift_cap() -> None:
    """Let this process map what it likes again."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, its ended children not counted; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
