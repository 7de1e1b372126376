"""The lanes: a queue for work that must be quick, and one for work that takes long. Each has workers of its own."""

from typing import Any, Final, Literal, cast

from preceptor.contract.job_kinds import JOB_KINDS, kind_of
from preceptor.contract.jobs import JobKind

Lane = Literal["recommend", "distill"]
LANES: Final[tuple[Lane, ...]] = ("recommend", "distill")
LANE_OF_KIND: Final[dict[JobKind, Lane]] = {kind: spec.lane for kind, spec in JOB_KINDS.items()}


def lane_of(job_id: str) -> Lane:
    """The lane of a job, from its id."""
    kind = kind_of(job_id)
    return "recommend" if kind is None else LANE_OF_KIND[kind]


QUICK_NAMES: Final = 500
"""Names of classes that are embedded in well under a second, even where none of them is known."""


def is_quick(kind: JobKind, request: dict[str, Any]) -> bool:
    """Whether a job takes milliseconds: it runs no model of a teacher, and brings few names.

    Workers keep room for such jobs. One that takes longer after all loses that room, not its place.
    """
    if kind != "recommendation" or request.get("probe") is not None or request.get("encoder") is not None:
        return False
    sets = [request.get("student"), *(request.get("candidates") or ())]
    return sum(_names(each) for each in sets) <= QUICK_NAMES


def _names(label_set: object) -> int:
    labels = cast("dict[str, Any]", label_set).get("labels") if isinstance(label_set, dict) else None
    return len(cast("list[str]", labels)) if isinstance(labels, list) else 0
