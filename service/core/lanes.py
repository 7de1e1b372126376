"""The lanes: a queue for work that must be quick, and one for work that takes long. Each has workers of its own."""

from typing import Final, Literal

from preceptor.contract.job_kinds import JOB_KINDS, kind_of
from preceptor.contract.jobs import JobKind

Lane = Literal["recommend", "distill"]
LANES: Final[tuple[Lane, ...]] = ("recommend", "distill")
LANE_OF_KIND: Final[dict[JobKind, Lane]] = {kind: spec.lane for kind, spec in JOB_KINDS.items()}


def lane_of(job_id: str) -> Lane:
    """The lane of a job, from its id."""
    kind = kind_of(job_id)
    return "recommend" if kind is None else LANE_OF_KIND[kind]
