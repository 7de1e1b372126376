"""The interface of a loss to the trainer: prepared once from the teachers' outputs, then a number per step."""

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
    """The input from which a loss is prepared.

    Attributes
    ----------
    teachers
        Their outputs on all labelled and transfer items.
    labels
        Classes of the labelled items, shape (N1,).
    rows
        The labelled items that the loss may use, shape (n,): all of them, or all but the held-out fold.
    classes
        S.
    folds
        Disjoint parts of `rows` (as positions in `rows`), for choices that need held-out items.
    at_full_weight
        Positions of the teachers at full weight, independent of their confidence; see `teacher_weights`.
    """

    teachers: Sequence[TeacherSignal]
    labels: Int64
    rows: Int64
    classes: int
    folds: list[Int64]
    device: torch.device
    at_full_weight: frozenset[int] = frozenset()


class LossTerm(Protocol):
    """A loss prepared for one training run."""

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
    """A loss that is the mean over its items: one call can compute it for the items of several students."""

    def each(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The loss of each item, shape (B,), in nats; their mean is the loss."""
        ...


@runtime_checkable
class HeldOutTerm(Protocol):
    """A term with held-out teacher predictions in the student's classes, available before any student is trained.

    Attributes
    ----------
    left_out
        Each teacher's predictions for the labelled items, from tables and maps fitted without the item, shape (n, S),
        rows sum to 1.
    """

    left_out: Sequence[NDArray[np.float64]]


@runtime_checkable
class EmbeddingTerm(Protocol):
    """A term on the student's embedding, the input of its last layer, instead of its logits."""

    def projector(self, width: int) -> nn.Module:
        """The module that is trained with the student, for an embedding of `width` numbers.

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
    """A term with a joint prediction of the teachers for each item, in the student's classes.

    Attributes
    ----------
    likeliest
        Shape (N1 + N2,), int64: the class that they predict.
    """

    likeliest: Tensor


class LossFamily(Protocol):
    """Makes terms of one kind."""

    def prepare(self, evidence: Evidence, settings: Any) -> "Term":
        """Make a term from the evidence; `settings` is the recipe's loss."""
        ...


Term = LossTerm | EmbeddingTerm
"""The terms that the trainer accepts."""
