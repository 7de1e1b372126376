"""Soft labels through the learned label map (see `label_map`): the baseline for transport."""

from preceptor.contract.losses import RidgeMapLoss

from ..teaching.label_map import fit_label_map
from .soft_labels import SoftLabelsTerm, joint_weights
from .term import Evidence


class RidgeMapFamily:
    """`ridge_map`."""

    def prepare(self, evidence: Evidence, settings: RidgeMapLoss) -> SoftLabelsTerm:
        """Fit each teacher's map and average their predictions by teacher weight."""
        rows, labels = evidence.rows, evidence.labels[evidence.rows]
        maps = [
            fit_label_map(teacher.logits, rows, labels, teacher.name_cost, use_names=settings.use_names)
            for teacher in evidence.teachers
        ]
        return joint_weights(evidence, [m.mapped for m in maps], [m.left_out for m in maps])
