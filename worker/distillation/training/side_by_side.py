"""Trains several students at once, each on a separate processor core.

The threads of one step wait for each other a hundred times a step; those of separate runs never do. On two idle cores
two runs take the time of one, and on busy cores neither delays the other.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from ..training.trainer import TrainingStopped

T = TypeVar("T")


def side_by_side(runs: Sequence[Callable[[], T]], threads: int, give_up: Callable[[], None]) -> list[T]:
    """Call all of them, at most `threads` at a time, each with one thread of torch.

    Parameters
    ----------
    runs
        Trainings whose steps do not draw from torch's global generator, which they share.
    give_up
        Called when one of them fails: stops the others.

    Returns
    -------
    list
        The result of each run, in order.

    Raises
    ------
    Exception
        The first that is not a `TrainingStopped`, else that one, after all have ended.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def guarded(run: Callable[[], T]) -> T:
        try:
            return run()
        except BaseException:
            give_up()
            raise

    try:
        with torch.random.fork_rng(), ThreadPoolExecutor(threads, thread_name_prefix="training") as pool:
            futures = [pool.submit(guarded, run) for run in runs]
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, TrainingStopped)):
            raise error
        return [future.result() for future in futures]
    finally:
        torch.set_num_threads(before)
