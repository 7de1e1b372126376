"""No teacher: only cross-entropy. The baseline of every other loss."""

from typing import Any

from torch import Tensor

from .term import Evidence


class NoTerm:
    """Always 0."""

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """See `LossTerm`."""
        return logits.sum() * 0.0


class NoFamily:
    """`none`."""

    def prepare(self, evidence: Evidence, settings: Any) -> NoTerm:
        """Nothing to prepare."""
        return NoTerm()
