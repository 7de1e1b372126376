"""Handles of running jobs, and `client.jobs`."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, Self, TypeVar, cast

from ..contract.distillations import DistillationBody, DistillationResult
from ..contract.jobs import Job, JobEvent, JobKind, JobStatus, JobSummary, Progress
from ..contract.problem import Problem
from ..contract.recommendations import RecommendationBody, RecommendationResult
from ..contract.validations import ValidationBody, ValidationResult
from ..core.effects import Emit, Procedure
from ..core.events import follow
from ..core.paging import page_size as checked
from ..core.progress import Watch, watching
from ..core.routes import jobs
from ..core.waiting import outcome, wait
from ..transport.async_driver import AsyncDriver
from ..transport.sync_driver import Driver
from .paging import AsyncPager, Pager

Req = TypeVar("Req")


Res = TypeVar("Res")


class JobHandle(Generic[Req, Res]):
    """A job of the service, as last seen. `refresh` and `wait` look again."""

    def __init__(self, driver: Driver, job: Job[Req, Res]) -> None:
        self._driver = driver
        self.job = job

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status.value}>"

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def kind(self) -> JobKind:
        return self.job.kind

    @property
    def status(self) -> JobStatus:
        return self.job.status

    @property
    def progress(self) -> Progress | None:
        return self.job.progress

    @property
    def request(self) -> Req:
        return self.job.request

    @property
    def result(self) -> Res | None:
        """The result; None until the job has succeeded."""
        return self.job.result

    @property
    def error(self) -> Problem | None:
        """Why the job failed; None where it did not."""
        return self.job.error

    def refresh(self) -> Self:
        """Look at the job again."""
        self.job = self._driver.send(jobs.get(self.id))
        return self

    def wait(
        self,
        timeout: float | None = None,
        progress: Watch = False,
        *,
        idle_timeout: float | None = None,
    ) -> Res:
        """Wait until the job has ended, and return its result.

        Parameters
        ----------
        timeout
            Seconds for the whole wait; without one, waits as long as it takes.
        progress
            True draws a progress bar on stderr; a function receives every event.
        idle_timeout
            Seconds without progress. A job that moves is waited for, however slow the machine.

        Raises
        ------
        JobFailedError, JobCanceledError
            The job ended without a result.
        WaitTimeoutError
            One of the two times is over; the job goes on.
        """
        with watching(progress, self.job) as observe:
            self.job = self._driver.run(wait(self._driver.settings, self.job, timeout, observe, idle_timeout))
        return outcome(self.job)

    def events(self, last_event_id: str | None = None) -> Iterator[JobEvent]:
        """The job's events, from the first or behind `last_event_id`, until it ends; resumes by itself."""
        return _events(self._driver, self.id, last_event_id)

    def cancel(self) -> Self:
        """Ask the service to stop the job. A job that has ended stays as it is."""
        self._driver.send(jobs.cancel(self.id))
        return self.refresh()


class RecommendationJob(JobHandle[RecommendationBody, RecommendationResult]):
    """A recommendation."""


class DistillationJob(JobHandle[DistillationBody, DistillationResult]):
    """A distillation."""


class ValidationJob(JobHandle[ValidationBody, ValidationResult]):
    """A validation of a teacher."""


AnyJob = RecommendationJob | DistillationJob | ValidationJob


def handle(driver: Driver, job: Job[Any, Any]) -> AnyJob:
    """The handle that fits a job."""
    kinds = {"recommendation": RecommendationJob, "distillation": DistillationJob, "validation": ValidationJob}
    return cast(AnyJob, kinds.get(job.kind, JobHandle)(driver, job))


def _events(driver: Driver, job: str, last_event_id: str | None) -> Iterator[JobEvent]:
    def deliver(event: JobEvent) -> Procedure[None]:
        yield Emit(event)

    return driver.iterate(follow(driver.settings, job, last_event_id, deliver=deliver))


class Jobs:
    """`client.jobs`: every job, whatever it does."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def get(self, job: str) -> AnyJob:
        """One job."""
        return handle(self._driver, self._driver.send(jobs.get(job)))

    def list(
        self, *, kind: JobKind | None = None, status: JobStatus | str | None = None, page_size: int = 50
    ) -> Pager[JobSummary]:
        """All jobs, newest first."""
        limit = checked(page_size)
        return Pager(self._driver, lambda cursor: jobs.page(limit, cursor, kind=kind, status=status))

    def cancel(self, job: str) -> JobSummary:
        """Ask the service to stop a job."""
        return self._driver.send(jobs.cancel(job))

    def events(self, job: str, last_event_id: str | None = None) -> Iterator[JobEvent]:
        """A job's events until it ends; resumes by itself."""
        return _events(self._driver, job, last_event_id)


class AsyncJobHandle(Generic[Req, Res]):
    """A job of the service, as last seen. `refresh` and `wait` look again."""

    def __init__(self, driver: AsyncDriver, job: Job[Req, Res]) -> None:
        self._driver = driver
        self.job = job

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status.value}>"

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def kind(self) -> JobKind:
        return self.job.kind

    @property
    def status(self) -> JobStatus:
        return self.job.status

    @property
    def progress(self) -> Progress | None:
        return self.job.progress

    @property
    def request(self) -> Req:
        return self.job.request

    @property
    def result(self) -> Res | None:
        """The result; None until the job has succeeded."""
        return self.job.result

    @property
    def error(self) -> Problem | None:
        """Why the job failed; None where it did not."""
        return self.job.error

    async def refresh(self) -> Self:
        """Look at the job again."""
        self.job = await self._driver.send(jobs.get(self.id))
        return self

    async def wait(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 as in sync
        progress: Watch = False,
        *,
        idle_timeout: float | None = None,
    ) -> Res:
        """Wait until the job has ended, and return its result.

        Parameters
        ----------
        timeout
            Seconds for the whole wait; without one, waits as long as it takes.
        progress
            True draws a progress bar on stderr; a function receives every event.
        idle_timeout
            Seconds without progress, after which the wait is given up. While a job makes progress, it waits.

        Raises
        ------
        JobFailedError, JobCanceledError
            The job ended without a result.
        WaitTimeoutError
            One of the two times is over; the job continues.
        """
        with watching(progress, self.job) as observe:
            self.job = await self._driver.run(wait(self._driver.settings, self.job, timeout, observe, idle_timeout))
        return outcome(self.job)

    def events(self, last_event_id: str | None = None) -> AsyncIterator[JobEvent]:
        """The job's events, from the first or behind `last_event_id`, until it ends; resumes by itself."""
        return _async_events(self._driver, self.id, last_event_id)

    async def cancel(self) -> Self:
        """Ask the service to stop the job. A job that has ended stays as it is."""
        await self._driver.send(jobs.cancel(self.id))
        return await self.refresh()


class AsyncRecommendationJob(AsyncJobHandle[RecommendationBody, RecommendationResult]):
    """A recommendation."""


class AsyncDistillationJob(AsyncJobHandle[DistillationBody, DistillationResult]):
    """A distillation."""


class AsyncValidationJob(AsyncJobHandle[ValidationBody, ValidationResult]):
    """A validation of a teacher."""


AnyAsyncJob = AsyncRecommendationJob | AsyncDistillationJob | AsyncValidationJob


def async_handle(driver: AsyncDriver, job: Job[Any, Any]) -> AnyAsyncJob:
    """The async_handle that fits a job."""
    kinds = {
        "recommendation": AsyncRecommendationJob,
        "distillation": AsyncDistillationJob,
        "validation": AsyncValidationJob,
    }
    return cast(AnyAsyncJob, kinds.get(job.kind, AsyncJobHandle)(driver, job))


def _async_events(driver: AsyncDriver, job: str, last_event_id: str | None) -> AsyncIterator[JobEvent]:
    def deliver(event: JobEvent) -> Procedure[None]:
        yield Emit(event)

    return driver.iterate(follow(driver.settings, job, last_event_id, deliver=deliver))


class AsyncJobs:
    """`client.jobs`: every job, whatever it does."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def get(self, job: str) -> AnyAsyncJob:
        """One job."""
        return async_handle(self._driver, await self._driver.send(jobs.get(job)))

    def list(
        self, *, kind: JobKind | None = None, status: JobStatus | str | None = None, page_size: int = 50
    ) -> AsyncPager[JobSummary]:
        """All jobs, newest first."""
        limit = checked(page_size)
        return AsyncPager(self._driver, lambda cursor: jobs.page(limit, cursor, kind=kind, status=status))

    async def cancel(self, job: str) -> JobSummary:
        """Ask the service to stop a job."""
        return await self._driver.send(jobs.cancel(job))

    def events(self, job: str, last_event_id: str | None = None) -> AsyncIterator[JobEvent]:
        """A job's events until it ends; resumes by itself."""
        return _async_events(self._driver, job, last_event_id)
