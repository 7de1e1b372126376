"""How many entropic problems this process has solved, and how many of them stopped short of their tolerance."""

import threading
from typing import Final

from torch import Tensor


class Tally:
    """Two growing numbers, shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items = 0
        self._unconverged = 0

    def add(self, converged: Tensor) -> None:
        """Count a solved batch.

        Parameters
        ----------
        converged
            Shape (N,), bool.
        """
        items = converged.shape[0]
        missed = items - int(converged.sum())
        with self._lock:
            self._items += items
            self._unconverged += missed

    def take(self) -> tuple[int, int]:
        """Items and unconverged items since the last call."""
        with self._lock:
            taken = self._items, self._unconverged
            self._items = self._unconverged = 0
        return taken


SOLVED: Final = Tally()
"""Of every call of `sinkhorn`, also those inside of a training loss."""
