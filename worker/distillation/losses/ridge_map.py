"""Soft labels through the learned label map (see `label_map`): the baseline that transport has to beat."""

import numpy as np
import torch

from preceptor.contract.losses import RidgeMapLoss

from ..faculty import hearing
from ..label_map import fit_label_map
from .soft_labels import SoftLabelsTerm
from .term import Evidence


class RidgeMapFamily:
    """`ridge_map`."""

    def prepare(self, evidence: Evidence, settings: RidgeMapLoss) -> SoftLabelsTerm:
        """Fit each teacher's map and mix what they say."""
        rows, labels = evidence.rows, evidence.labels[evidence.rows]
        maps = [
            fit_label_map(teacher.logits, rows, labels, teacher.name_cost, use_names=settings.use_names)
            for teacher in evidence.teachers
        ]
        weights = hearing([m.spoken for m in maps], [m.left_out for m in maps], labels, evidence.classes)
        total = weights.sum(axis=1)
        shares = weights / np.maximum(total, 1e-9)[:, None]
        mixed = np.einsum("nm,mns->ns", shares, np.stack([m.spoken for m in maps]))
        mixed = np.maximum(mixed, 1e-9)
        mixed /= mixed.sum(axis=1, keepdims=True)
        device = evidence.device
        return SoftLabelsTerm(
            torch.from_numpy(mixed.astype(np.float32)).to(device),
            torch.from_numpy(total.astype(np.float32)).to(device),
        )
