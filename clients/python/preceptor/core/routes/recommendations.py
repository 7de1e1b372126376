"""`/v1/recommendations`"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...contract.jobs import JobSummary
from ...contract.page import Page
from ...contract.recommendations import Candidate, Recommendation, RecommendationBody, TeacherFilter
from ..bodies import body, listed
from ..calls import Call, at, call, model

Teachers = TeacherFilter | Iterable[str]
Candidates = Sequence[Candidate] | Mapping[str, Sequence[str]]


def create(
    values: Mapping[str, Any],
    *,
    teachers: Teachers | None,
    tags: Iterable[str] | None,
    modality: str | None,
    candidates: Candidates | None,
    wait: float | None,
    idempotency_key: str | None,
) -> Call[Recommendation]:
    if isinstance(candidates, Mapping):
        candidates = [
            body(Candidate, {"name": name, "labels": listed(labels, "labels")}) for name, labels in candidates.items()
        ]
    wanted = body(
        RecommendationBody,
        {**values, "teachers": _filter(teachers, tags, modality), "candidates": candidates},
    )
    path = "/v1/recommendations"
    return call("POST", path, model(Recommendation), body=wanted, wait=wait, idempotency_key=idempotency_key)


def _filter(
    teachers: Teachers | None, tags: Iterable[str] | None, modality: str | None
) -> TeacherFilter | dict[str, Any] | None:
    if isinstance(teachers, TeacherFilter):
        return teachers
    wanted = {
        "ids": None if teachers is None else [teachers] if isinstance(teachers, str) else listed(teachers, "teachers"),
        "tags": None if tags is None else [tags] if isinstance(tags, str) else listed(tags, "tags"),
        "modality": modality,
    }
    return {name: value for name, value in wanted.items() if value is not None} or None


def get(recommendation: str) -> Call[Recommendation]:
    return call("GET", at("recommendations", recommendation), model(Recommendation))


def page(limit: int, cursor: str | None) -> Call[Page[JobSummary]]:
    query = {"limit": limit, "cursor": cursor}
    return call("GET", "/v1/recommendations", model(Page[JobSummary]), query=query)
