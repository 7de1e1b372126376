"""Gives teachers a verdict whose validation has ended without one: canceled, too long, or given up with its workers."""

from preceptor.contract.base import now
from preceptor.contract.ids import VALIDATION
from preceptor.contract.jobs import JobStatus
from preceptor.contract.teachers import Teacher, TeacherStatus

from ..errors import PreceptorError, StateUnavailable, StoreFull, StoreUnavailable
from ..storage.documents import Records
from .jobs import Jobs


class UnfinishedValidations:
    """What the ends of validations mean for their teachers.

    Parameters
    ----------
    jobs, teachers
        Of the deployment.
    """

    def __init__(self, jobs: Jobs, teachers: Records[Teacher]) -> None:
        self._jobs = jobs
        self._teachers = teachers

    async def complete(self, id: str) -> None:
        """Reject the teacher of a validation that has ended, where it still waits for a verdict.

        Its files can be replaced then, and it can be validated again.
        """
        if not id.startswith(f"{VALIDATION}_"):
            return
        job = await self._jobs.get(id)
        if job is None or not job.status.terminal or job.status == JobStatus.SUCCEEDED:
            return
        try:
            request = await self._jobs.records.request(id)
        except (StateUnavailable, StoreUnavailable, StoreFull):
            raise
        except PreceptorError:  # The store has it, and it cannot be read: nobody knows whose validation it was.
            return
        if request is None:
            return
        async with self._teachers.lock(request["teacher"]):
            teacher = await self._teachers.get(request["teacher"])
            if teacher is None or teacher.validation != id or teacher.status != TeacherStatus.VALIDATING:
                return
            why = "it was canceled" if job.error is None else job.error.detail
            await self._teachers.put(
                teacher.model_copy(
                    update={
                        "status": TeacherStatus.REJECTED,
                        "reason": f"The validation ended without a verdict: {why}",
                        "updated_at": now(),
                    }
                )
            )
