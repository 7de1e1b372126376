"""The table of job kinds: routing, storage, workers and the SDK read it."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel

from .distillations import Distillation, DistillationBody, DistillationResult
from .ids import JOB_PREFIXES, JobKind, is_id
from .jobs import Job
from .recommendations import Recommendation, RecommendationBody, RecommendationResult
from .validations import Validation, ValidationBody, ValidationResult


@dataclass(frozen=True)
class JobKindSpec:
    """Properties of a job kind.

    Attributes
    ----------
    lane
        Queue of its jobs.
    path
        Collection of its resource, below `/v1`.
    body, result
        Models of request and result.
    job
        Model of the whole job.
    """

    lane: Literal["recommend", "distill"]
    path: str
    body: type[BaseModel]
    result: type[BaseModel]
    job: type[Job[Any, Any]]


JOB_KINDS: Final[dict[JobKind, JobKindSpec]] = {
    "recommendation": JobKindSpec(
        "recommend", "recommendations", RecommendationBody, RecommendationResult, Recommendation
    ),
    "distillation": JobKindSpec("distill", "distillations", DistillationBody, DistillationResult, Distillation),
    "validation": JobKindSpec("recommend", "jobs", ValidationBody, ValidationResult, Validation),
}


def kind_of(job_id: str) -> JobKind | None:
    """The kind of a job, from its id; None if the text is not a job id."""
    return next((kind for kind, prefix in JOB_PREFIXES.items() if is_id(prefix, job_id)), None)
