"""Interleaved measurement: every method once per round, so that other load on the machine affects all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds per call: median over the rounds, fastest and slowest."""

    median: float
    fastest: float
    slowest: float


def cpu_seconds(call: Callable[[], object]) -> Callable[[], float]:
    """The call, returning the processor seconds of this process, all threads together."""

    def timed() -> float:
        began = time.process_time()
        call()
        return time.process_time() - began

    return timed


def wall_seconds(call: Callable[[], object]) -> Callable[[], float]:
    """The call, returning elapsed seconds."""

    def timed() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return timed


def interleave(methods: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Timing]:
    """Run each method once to warm up, then once per round in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for round_number in range(rounds + 1):
        for name, method in methods.items():
            spent = method()
            if round_number:
                seconds[name].append(spent)
    return {name: Timing(statistics.median(all_), min(all_), max(all_)) for name, all_ in seconds.items()}
