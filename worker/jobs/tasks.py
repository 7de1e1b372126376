"""The task of each job kind."""

import asyncio
import os
import time
from typing import Any, Final

import structlog
import torch
from pydantic import BaseModel

from preceptor.contract.distillations import DistillationResult
from preceptor.contract.jobs import JobKind
from preceptor.contract.recommendations import RecommendationResult
from preceptor.contract.validations import ValidationResult
from service.core.errors import PreceptorError
from service.core.lanes import Lane
from service.core.settings import Settings
from service.core.state import State

from .consumer import Task
from .context import JobContext
from .label_encoders import Encoders
from .recommend import Recommender
from .teacher_access import LoadedTeachers
from .validate import validate
from .zoo_index import ZooIndex

_SECONDS: Final = 60.0
"""Seconds between two checks of all copies, while none is added."""
log = structlog.stdlib.get_logger(__name__)


def with_copies(task: Task) -> Task:
    """A task whose local copies are kept while it runs. See `LocalCache`."""
    looked = time.monotonic()

    async def run(context: JobContext, request: dict[str, Any]) -> BaseModel:
        nonlocal looked
        copies = context.state.store.copies
        before = set(copies.hub_copies())
        try:
            with copies.in_use():
                return await task(context, request)
        finally:
            if time.monotonic() - looked > _SECONDS or not before.issuperset(copies.hub_copies()):
                looked = time.monotonic()
                await remove_unneeded(context.state)

    return run


async def remove_unneeded(state: State) -> None:
    """Remove Hub models of deleted teachers, and copies above the limit. Never fails."""
    copies = state.store.copies
    try:
        gone = [id for id in copies.hub_copies() if await state.teachers.get(id) is None]
        await asyncio.to_thread(copies.trim, gone)
    except (PreceptorError, OSError) as error:
        log.warning("local copies were not checked", reason=str(error))


def tasks_of(settings: Settings, lane: Lane) -> dict[JobKind, Task]:
    """The tasks of one lane; slow loading happens here, before the first job."""
    # The two lanes share a machine. Threads of both on all cores wait for each other: a ranking took 20 times longer.
    settings = settings.model_copy(update={"threads": settings.threads or max(1, len(os.sched_getaffinity(0)) // 2)})
    torch.set_num_threads(settings.threads)
    kept = LoadedTeachers(settings.device, settings.threads)
    if lane == "distill":
        return {"distillation": with_copies(_distillation(settings, kept))}
    encoders = Encoders(settings.encoder)
    zoo_index = ZooIndex(encoders.get(None), settings.data.absolute() / "label-index")
    recommender = Recommender(encoders, kept, zoo_index)

    async def recommendation(context: JobContext, request: dict[str, Any]) -> RecommendationResult:
        return await recommender.recommend(context, request)

    async def validation(context: JobContext, request: dict[str, Any]) -> ValidationResult:
        result = await validate(context, request, settings)
        zoo_index.follow_soon(context.state)
        return result

    return {"recommendation": with_copies(recommendation), "validation": with_copies(validation)}


def _distillation(settings: Settings, kept: LoadedTeachers) -> Task:
    from .distill import Distiller

    distiller = Distiller(settings, kept, Encoders(settings.encoder))

    async def distillation(context: JobContext, request: dict[str, Any]) -> DistillationResult:
        return await distiller.distil(context, request)

    return distillation
