"""A parser with every fault that a campaign must find: what it does, its input says."""

import os
import signal
from pathlib import Path
from random import Random
from typing import Final

from .case import SOURCE, Files, Outcome, Parser, ServerError, refuse_leftovers, single

FAULTS: Final = ("none", "raise", "abort", "hang", "memory", "left", "status", "descriptors")
_held: list[bytes] = []
_open: list[int] = []


def _attempt(files: Files, folder: Path) -> Outcome:
    fault = files[SOURCE].decode()
    if fault == "raise":
        raise KeyError(fault)
    if fault == "abort":
        os.kill(os.getpid(), signal.SIGABRT)
    while fault == "hang":
        _held.clear()
    if fault == "memory":
        _held.append(os.urandom(2**26))
    if fault == "left":
        (folder / "rest").write_bytes(b"x")
        refuse_leftovers(folder, {SOURCE})
    if fault == "descriptors":
        _open.extend(os.dup(0) for _ in range(100))
    if fault == "status":
        raise ServerError("GET /: 500")
    return "accepted"


def _spoil(seeds: list[Files], rng: Random) -> Files:
    return rng.choice(seeds)


PARSERS: Final = [
    Parser("broken", lambda: single([fault.encode() for fault in FAULTS]), _spoil, _attempt, memory=2**25),
]
