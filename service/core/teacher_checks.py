"""Teachers that are only checked: uploaded and validated like others, never listed or ranked, removed at the end."""

from datetime import datetime, timedelta
from typing import Final

from preceptor.contract.base import now
from preceptor.contract.teachers import Teacher

from .jobs.jobs import Jobs
from .storage.documents import Records

LIFETIME: Final = timedelta(hours=2)
"""From the last upload or the start of the validation. Clients remove their checks themselves; this is for those that
exited before."""


def expiry(teacher: Teacher | None = None) -> datetime | None:
    """The end of a check's lifetime when something happens to it now; None for a teacher of the zoo."""
    return None if teacher is not None and teacher.expires_at is None else now() + LIFETIME


async def remove_expired_checks(teachers: Records[Teacher], jobs: Jobs, moment_ms: int) -> list[str]:
    """Remove the checks whose lifetime is over, and prolong those whose validation has not ended.

    Returns
    -------
    list
        Ids of the removed ones.

    Raises
    ------
    StateUnavailable, StoreUnavailable
    """
    removed: list[str] = []
    for id in await teachers.expired(moment_ms):
        async with teachers.lock(id):
            teacher = await teachers.get(id)
            job = None if teacher is None or teacher.validation is None else await jobs.get(teacher.validation)
            if teacher is not None and job is not None and not job.status.terminal:
                await teachers.put(teacher.model_copy(update={"expires_at": expiry(teacher)}))
            else:
                await teachers.delete(id)
                removed.append(id)
    return removed
