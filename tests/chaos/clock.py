"""A clock that is wrong: the machines of a deployment need not agree on the time."""

import os
import time
from datetime import timedelta


def shift() -> None:
    """Shift what this process takes for the time by `CHAOS_CLOCK` seconds. To be called before anything is imported."""
    seconds = float(os.environ.get("CHAOS_CLOCK", "0"))
    if not seconds:
        return
    from preceptor.contract import base

    clock, clock_ns, now = time.time, time.time_ns, base.now
    time.time = lambda: clock() + seconds
    time.time_ns = lambda: clock_ns() + int(seconds * 1e9)
    base.now = lambda: now() + timedelta(seconds=seconds)
