"""Which task runs a job of which kind."""

import os
from typing import Any

import torch

from preceptor.contract.distillations import DistillationResult
from preceptor.contract.jobs import JobKind
from preceptor.contract.recommendations import RecommendationResult
from preceptor.contract.validations import ValidationResult
from service.core.jobs.queue import Lane
from service.core.settings import Settings

from .consumer import Task
from .context import JobContext
from .copies import with_copies
from .label_encoders import Encoders
from .recommend import Recommender
from .teacher_access import LoadedTeachers
from .validate import validate
from .zoo_index import Roster


def tasks_of(settings: Settings, lane: Lane) -> dict[JobKind, Task]:
    """The tasks of one lane; what takes long to load is loaded here, before the first job."""
    # The two lanes share a machine. Threads of both on all cores wait for each other: a ranking took 20 times longer.
    settings = settings.model_copy(update={"threads": settings.threads or max(1, len(os.sched_getaffinity(0)) // 2)})
    torch.set_num_threads(settings.threads)
    kept = LoadedTeachers(settings.device, settings.threads)
    if lane == "distill":
        return {"distillation": with_copies(_distillation(settings, kept))}
    encoders = Encoders(settings.encoder)
    roster = Roster(encoders.get(None), settings.data.absolute() / "label-index")
    recommender = Recommender(encoders, kept, roster)

    async def recommendation(context: JobContext, request: dict[str, Any]) -> RecommendationResult:
        return await recommender.recommend(context, request)

    async def validation(context: JobContext, request: dict[str, Any]) -> ValidationResult:
        result = await validate(context, request, settings)
        roster.follow_soon(context.state)
        return result

    return {"recommendation": with_copies(recommendation), "validation": with_copies(validation)}


def _distillation(settings: Settings, kept: LoadedTeachers) -> Task:
    from .distill import Distiller

    distiller = Distiller(settings, kept, Encoders(settings.encoder))

    async def distillation(context: JobContext, request: dict[str, Any]) -> DistillationResult:
        return await distiller.distil(context, request)

    return distillation
