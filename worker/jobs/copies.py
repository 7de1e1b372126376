"""A job holds the copies on this machine that it uses; after it, those that nobody needs go."""

import asyncio
import time
from typing import Any, Final

import structlog
from pydantic import BaseModel

from service.core.errors import PreceptorError
from service.core.state import State

from .consumer import Task
from .context import JobContext

_SECONDS: Final = 60.0
"""Between two looks at all copies, while none is added."""
log = structlog.stdlib.get_logger(__name__)


def with_copies(task: Task) -> Task:
    """A task whose copies stay while it runs. See `Scratch`."""
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
    """Remove models of the Hub whose teacher was deleted, and what is beyond the limit. Never fails."""
    copies = state.store.copies
    try:
        gone = [id for id in copies.hub_copies() if await state.teachers.get(id) is None]
        await asyncio.to_thread(copies.trim, gone)
    except (PreceptorError, OSError) as error:
        log.warning("copies were not looked through", reason=str(error))
