"""The lanes: a queue for work that must be quick, and one for work that takes long. Each has workers of its own."""

from typing import Final, Literal

from preceptor.contract.ids import DISTILLATION

Lane = Literal["recommend", "distill"]
LANES: Final[tuple[Lane, ...]] = ("recommend", "distill")
LANE_OF_KIND: Final[dict[str, Lane]] = {
    "recommendation": "recommend",
    "validation": "recommend",
    "distillation": "distill",
}


def lane_of(job_id: str) -> Lane:
    """The lane of a job, from its id."""
    return "distill" if job_id.startswith(f"{DISTILLATION}_") else "recommend"
