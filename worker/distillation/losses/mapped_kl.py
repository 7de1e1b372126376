r"""Classical distillation, KL to the teacher, after its predictions were mapped to the student's classes.

.. math:: KL\big(p_T(x_i)\,T \ \|\ q(x_i)\big), \qquad T_{ks} = P(s \mid k)

T and the teacher weights are those of `transport`, so that the two differ only in the loss. Here each item has one
target distribution. There the mass of each teacher class is transported at a cost, and the student's current
prediction decides where it moves.
"""

from preceptor.contract.losses import MappedKlLoss, TransportLoss

from .soft_labels import SoftLabelsTerm, joint_weights
from .term import Evidence
from .transport import joint_teacher_map


class MappedKlFamily:
    """`mapped_kl`."""

    def prepare(self, evidence: Evidence, settings: MappedKlLoss) -> SoftLabelsTerm:
        """The teachers' predictions in the student's classes, averaged by teacher weight."""
        as_transport = TransportLoss(eps=settings.eps, temperature=settings.temperature)
        teacher_maps = [joint_teacher_map(teacher, evidence, as_transport) for teacher in evidence.teachers]
        mapped = [teacher_map.mapped(settings.eps) for teacher_map in teacher_maps]
        left_out = [teacher_map.left_out for teacher_map in teacher_maps]
        return joint_weights(evidence, mapped, left_out)
