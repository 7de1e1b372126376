"""Predictions of a model, and their quality."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..data import Encoded
from ..inputs import Float32, Int64

_PREDICT: Final = 256
_COMPARED: Final = 512
"""Transfer items on which student and teachers are compared; the standard error of agreement is about 2 points."""


def predict(model: nn.Module, items: Encoded, rows: NDArray[np.int64] | None = None) -> Float32:
    """Logits of items, shape (N, S), float32, without augmentation."""
    chosen = torch.arange(len(items)) if rows is None else torch.from_numpy(np.asarray(rows, dtype=np.int64))
    was_training = model.training
    model.eval()
    with torch.no_grad():
        parts = [model(**items.gather(part)).float().cpu() for part in chosen.split(_PREDICT)]
    model.train(was_training)
    return torch.cat(parts).numpy()


@dataclass(frozen=True)
class HeldOutSet:
    """Labelled items on which a model is measured.

    Attributes
    ----------
    rows, labels
        Positions in the items, and their classes, shape (N,).
    """

    items: Encoded
    rows: Int64
    labels: Int64

    def right(self, model: nn.Module) -> NDArray[np.bool_]:
        """Whether the model predicts each of them correctly, shape (N,)."""
        return predict(model, self.items, self.rows).argmax(axis=1) == self.labels

    def surprise(self, model: nn.Module) -> float:
        """Mean cross-entropy, in nats."""
        logits = torch.from_numpy(predict(model, self.items, self.rows))
        return float(nn.functional.cross_entropy(logits, torch.from_numpy(self.labels)))


@dataclass(frozen=True)
class Agreement:
    """Share of items on which the student predicts the teachers' class.

    Attributes
    ----------
    items, rows
        The compared items.
    likeliest
        The teachers' predictions in the student's classes, shape (n,).
    """

    items: Encoded
    rows: Int64
    likeliest: Int64

    @classmethod
    def over(cls, items: Encoded, likeliest: Int64) -> "Agreement":
        """On the first items of the transfer set; `likeliest` is of all of them."""
        rows = np.arange(min(len(items), _COMPARED), dtype=np.int64)
        return cls(items, rows, likeliest[rows])

    def share(self, model: nn.Module) -> float:
        """Share of equal predictions."""
        return float((predict(model, self.items, self.rows).argmax(axis=1) == self.likeliest).mean())
