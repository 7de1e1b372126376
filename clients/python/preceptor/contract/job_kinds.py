"""The one table of job kinds. Routing, storage, workers and the SDK read it; none of them names a kind again."""

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
    """What differs between kinds of jobs.

    Attributes
    ----------
    lane
        The queue that it waits in.
    path
        Collection below `/v1` that its resource belongs to.
    body, result
        Models of the request and of the result.
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
    """The kind of a job, from its id; None where the text is not the id of a job."""
    return next((kind for kind, prefix in JOB_PREFIXES.items() if is_id(prefix, job_id)), None)
