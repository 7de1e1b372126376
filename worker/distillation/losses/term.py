"""What a loss is to the trainer: teachers' outputs made ready once, then a number per step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..inputs import Int64, TeacherSignal


@dataclass(frozen=True)
class Evidence:
    """What a loss may be prepared from.

    Attributes
    ----------
    teachers
        Their outputs on all labelled and transfer items.
    labels
        Classes of the labelled items, shape (N1,).
    rows
        The labelled items that may be looked at, shape (n,): all of them, or without a fold that is left out.
    classes
        S.
    folds
        Disjoint parts of `rows` (as positions in `rows`), for choices that need left-out items.
    at_full_weight
        Positions of the teachers that are heard in full, whatever their confidence; see `faculty.hearing`.
    """

    teachers: Sequence[TeacherSignal]
    labels: Int64
    rows: Int64
    classes: int
    folds: list[Int64]
    device: torch.device
    at_full_weight: frozenset[int] = frozenset()


class LossTerm(Protocol):
    """A loss that was prepared for one training run."""

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The mean loss of some items, in nats; differentiable in the logits.

        Parameters
        ----------
        logits
            The student's, shape (B, S).
        rows
            Which items, shape (B,), int64: labelled items count from 0, transfer items from N1.
        """
        ...


@runtime_checkable
class ItemwiseTerm(LossTerm, Protocol):
    """A loss that is the mean of numbers of its items: items of several students can be given to it at once."""

    def each(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The loss of each item, shape (B,), in nats; their mean is the loss."""
        ...


@runtime_checkable
class HeldOutTerm(Protocol):
    """A term whose teachers can be heard in the student's classes before any student is trained.

    Attributes
    ----------
    left_out
        For each teacher, what it says of the labelled items, from tables and maps that did not see the item, shape
        (n, S), rows sum to 1.
    """

    left_out: Sequence[NDArray[np.float64]]


@runtime_checkable
class EmbeddingTerm(Protocol):
    """A term that looks at the student's embedding, the input of its last layer, and not at its logits."""

    def projector(self, width: int) -> nn.Module:
        """What is trained beside the student, for an embedding of `width` numbers.

        Random initial weights come from torch's global generator.
        """
        ...

    def match(self, hidden: Tensor, rows: Tensor, projector: nn.Module) -> Tensor:
        """The mean loss of some items; differentiable in the embedding and in the projector.

        Parameters
        ----------
        hidden
            Shape (B, width), float32.
        rows
            As in `LossTerm`.
        """
        ...


@runtime_checkable
class LikeliestClassTerm(Protocol):
    """A term that can be put into words: what the teachers together say of each item, in the student's classes.

    Attributes
    ----------
    likeliest
        Shape (N1 + N2,), int64: the class they hold likeliest.
    """

    likeliest: Tensor


class LossFamily(Protocol):
    """Makes terms of one kind."""

    def prepare(self, evidence: Evidence, settings: Any) -> "Term":
        """Make a term from the evidence; `settings` is the recipe's loss."""
        ...


Term = LossTerm | EmbeddingTerm
"""What the trainer takes."""
