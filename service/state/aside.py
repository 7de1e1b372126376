"""Work on large documents goes to threads, two at a time, so that other requests are answered between its steps.

A step such as reading megabytes of JSON holds Python's lock to its end: a thread makes none of them shorter, but they
no longer follow one another without a pause. Two at a time, because each needs many times its text in memory.
"""

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

LARGE: Final = 256 * 2**10
"""Bytes of JSON from which on it is worth the way to a thread and back."""

_AT_ONCE: Final = 2
_limiter: RunVar[CapacityLimiter] = RunVar("service.core.aside")
P = ParamSpec("P")
R = TypeVar("R")


async def aside(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in one of the threads for large documents."""
    limiter: Any = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(_AT_ONCE)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(lambda: function(*args, **kwargs), limiter=limiter)
