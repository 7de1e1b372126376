r"""Feature matching through a projector, from the teacher's space to the student's.

.. math:: 1 - \cos\big(W \phi_T(x_i),\ h_S(x_i)\big)

:math:`h_S` is the input of the student's last layer, :math:`\phi_T` that of the teacher's if the teacher exposes
it, else its standardised log-predictions. The linear map W is trained with the student and discarded. It maps from
teacher to student, so that a small student need not reproduce all of a wide teacher. The loss uses only the geometry,
no names and no labels: label sets may differ.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .relational import space
from .term import Evidence


class FeaturesTerm:
    """The term of one run.

    Parameters
    ----------
    vectors
        For each of M teachers, unit vectors of all items, shape (N, D).
    """

    def __init__(self, vectors: Sequence[Tensor]) -> None:
        self._vectors = list(vectors)

    def projector(self, width: int) -> nn.Module:
        """See `EmbeddingTerm`: one linear map a teacher."""
        return nn.ModuleList(nn.Linear(vectors.shape[1], width) for vectors in self._vectors)

    def match(self, hidden: Tensor, rows: Tensor, projector: nn.Module) -> Tensor:
        """See `EmbeddingTerm`; all teachers have the same weight."""
        assert isinstance(projector, nn.ModuleList)
        rows = rows.to(hidden.device)
        apart = [
            1 - functional.cosine_similarity(project(vectors[rows]), hidden, dim=1)
            for project, vectors in zip(projector, self._vectors, strict=True)
        ]
        return torch.stack(apart).mean()


class FeaturesFamily:
    """`features`."""

    def prepare(self, evidence: Evidence, settings: Any) -> FeaturesTerm:
        """The teachers' vectors of all items; nothing is fitted before training."""
        return FeaturesTerm(
            [
                # Rows of length sqrt(D): a new linear layer then starts with outputs of about unit scale.
                torch.from_numpy((v * np.sqrt(v.shape[1])).astype(np.float32)).to(evidence.device)
                for v in (space(teacher) for teacher in evidence.teachers)
            ]
        )
