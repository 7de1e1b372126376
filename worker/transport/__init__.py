"""Optimal transport between label spaces: pure functions on tensors.

Used by ``worker.ranking`` and ``worker.distillation``; independent of teachers, HTTP and Redis.
"""

from worker.transport.exact import (
    ExactPlan,
    coverage_cost,
    coverage_transport,
    exact_cost,
    exact_transport,
)
from worker.transport.forced import forced_cost, joint_distribution
from worker.transport.ground_cost import blend_cost, cosine_cost
from worker.transport.label_index import LabelIndex
from worker.transport.loss import (
    UnconvergedWarning,
    coverage_weights,
    entropic_value,
    faculty_loss,
    transport_loss,
)
from worker.transport.search import TopK, brute_force, top_k
from worker.transport.sinkhorn import SinkhornResult, sinkhorn

__all__ = [
    "ExactPlan",
    "LabelIndex",
    "SinkhornResult",
    "TopK",
    "UnconvergedWarning",
    "blend_cost",
    "brute_force",
    "cosine_cost",
    "coverage_cost",
    "coverage_transport",
    "coverage_weights",
    "entropic_value",
    "exact_cost",
    "exact_transport",
    "faculty_loss",
    "forced_cost",
    "joint_distribution",
    "sinkhorn",
    "top_k",
    "transport_loss",
]
