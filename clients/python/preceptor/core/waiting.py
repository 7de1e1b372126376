"""Waiting for a job: by its event stream, by polling where the stream cannot be had."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..contract.base import now
from ..contract.jobs import Job, JobEvent, JobStatus
from ..errors import (
    JobCanceledError,
    JobFailedError,
    ServiceUnreachableError,
    StatusError,
    UnexpectedAnswerError,
)
from .calls import send
from .deadline import Deadline
from .effects import Procedure, Sleep
from .events import follow
from .routes import jobs
from .settings import Settings

Result = TypeVar("Result")
Observer = Callable[[JobEvent], None]

_LOOK: Final = 30.0
"""Seconds without an event after which the job itself is asked: an event log can be lost, a record cannot."""
_FIRST_POLL: Final = 0.5
_SLOWEST_POLL: Final = 5.0


def wait(
    settings: Settings,
    job: Job[Any, Any],
    timeout: float | None,
    observe: Observer | None,
    idle_timeout: float | None = None,
) -> Procedure[Job[Any, Any]]:
    """Wait until a job has ended -> its last state.

    Raises
    ------
    WaitTimeoutError
        `timeout` seconds have passed, or `idle_timeout` seconds without progress; the job continues.
    """
    if job.status.terminal:
        return job
    deadline = Deadline(settings, timeout, idle_timeout)
    last_event = settings.now()
    state = job

    def deliver(event: JobEvent) -> Procedure[None]:
        nonlocal last_event
        last_event = settings.now()
        deadline.event(event)
        if observe:
            observe(event)
        return
        yield

    def pulse() -> Procedure[bool]:
        nonlocal last_event, state
        if settings.now() - last_event < _LOOK:
            return False
        last_event = settings.now()
        state = yield from send(settings, jobs.get(job.id))
        deadline.record(state.progress)
        return state.status.terminal

    try:
        yield from follow(settings, job.id, None, deliver=deliver, pulse=pulse, left=deadline.left)
    except TimeoutError:
        raise deadline.error(state) from None
    except (StatusError, ServiceUnreachableError, UnexpectedAnswerError):
        return (yield from _poll(settings, state, deadline, observe))
    # The terminal event may be read a moment before the record that it announces.
    return (yield from _poll(settings, state, deadline, None))


def _poll(
    settings: Settings, state: Job[Any, Any], deadline: Deadline, observe: Observer | None
) -> Procedure[Job[Any, Any]]:
    pause = _FIRST_POLL
    while True:
        state = yield from send(settings, jobs.get(state.id))
        deadline.record(state.progress)
        if observe and state.progress:
            data = state.progress.model_dump()
            observe(JobEvent(id="", event="progress", at=now(), data=data))
        if state.status.terminal:
            return state
        left = deadline.left()
        if left is not None and left <= 0:
            raise deadline.error(state)
        yield Sleep(pause if left is None else min(pause, left))
        pause = min(_SLOWEST_POLL, pause * 1.5)


def outcome(job: Job[Any, Result]) -> Result:
    """The result of a job that has ended.

    Raises
    ------
    JobFailedError, JobCanceledError
    """
    if job.status is JobStatus.CANCELED:
        raise JobCanceledError(job)
    if job.status is JobStatus.FAILED:
        raise JobFailedError(job)
    if job.result is None:
        raise UnexpectedAnswerError(f"{job.kind} {job.id} is {job.status.value} but carries no result")
    return job.result
