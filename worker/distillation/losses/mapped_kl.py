r"""Classical distillation, KL to the teacher, after its predictions were carried over to the student's classes.

.. math:: KL\big(p_T(x_i)\,T \ \|\ q(x_i)\big), \qquad T_{ks} = P(s \mid k)

T and the hearing of several teachers are those of `transport`, so that the two differ by the loss alone: here each item
is told one distribution, there the mass of each teacher class is moved at a cost, and what the student already says
decides whereto.
"""

from preceptor.contract.losses import MappedKlLoss, TransportLoss

from .soft_labels import SoftLabelsTerm, joint_weights
from .term import Evidence
from .transport import joint_teacher_map


class MappedKlFamily:
    """`mapped_kl`."""

    def prepare(self, evidence: Evidence, settings: MappedKlLoss) -> SoftLabelsTerm:
        """What the teachers say in the student's classes, mixed by how much each is heard."""
        as_transport = TransportLoss(eps=settings.eps, temperature=settings.temperature)
        teacher_maps = [joint_teacher_map(teacher, evidence, as_transport) for teacher in evidence.teachers]
        spoken = [teacher_map.spoken(settings.eps) for teacher_map in teacher_maps]
        left_out = [teacher_map.left_out for teacher_map in teacher_maps]
        return joint_weights(evidence, spoken, left_out)
