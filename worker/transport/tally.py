"""Number of entropic problems that this process has solved, of their iterations, and of those not converged."""

import threading
from typing import Final, NamedTuple

import torch
from torch import Tensor


class Tally:
    """Cumulative counts, shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items = 0
        self._unconverged = 0
        self._iterations = 0

    def add(self, converged: Tensor, iterations: Tensor) -> None:
        """Count a solved batch.

        Parameters
        ----------
        converged
            Shape (N,), bool.
        iterations
            Shape (N,), int.
        """
        # A single transfer if the numbers are on a GPU.
        reached, spent = map(int, torch.stack([converged.sum(), iterations.sum()]).cpu().numpy())
        self.count(Solved(converged.shape[0], converged.shape[0] - reached, spent))

    def count(self, solved: "Solved") -> None:
        """Add counts from elsewhere."""
        with self._lock:
            self._items += solved.items
            self._unconverged += solved.unconverged
            self._iterations += solved.iterations

    def take(self) -> "Solved":
        """The counts since the last call."""
        with self._lock:
            taken = Solved(self._items, self._unconverged, self._iterations)
            self._items = self._unconverged = self._iterations = 0
        return taken


class Solved(NamedTuple):
    """Number of problems, of those that stopped short of their tolerance, and of all iterations."""

    items: int
    unconverged: int
    iterations: int


SOLVED: Final = Tally()
"""Counts every call of `sinkhorn`, including those in a training loss."""
