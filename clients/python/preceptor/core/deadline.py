"""When a wait for a job gives up: some time after it began, or some time after the job last made progress."""

from typing import Any, Final

from ..contract.jobs import Job, JobEvent, Progress
from ..errors import WaitTimeoutError
from .settings import Settings

_STEADY: Final = "progress"


class Deadline:
    """The moment at which to give up; it moves while the job makes progress.

    Parameters
    ----------
    timeout
        Seconds for the whole wait; None for no limit.
    idle_timeout
        Seconds without progress; None for no limit.
    """

    def __init__(self, settings: Settings, timeout: float | None, idle_timeout: float | None) -> None:
        self._now = settings.now
        self._timeout, self._idle_timeout = timeout, idle_timeout
        self._end = None if timeout is None else self._now() + timeout
        self._moved = self._now()
        self._seen: tuple[Any, Any] | None = None

    def event(self, event: JobEvent) -> None:
        """An event came. A `progress` event that repeats fraction and message is a sign of life, not progress."""
        if event.event != _STEADY:
            self._moved = self._now()
        else:
            self._progress(event.data.get("fraction"), event.data.get("message"))

    def record(self, progress: Progress | None) -> None:
        """The job itself was looked at."""
        if progress is not None:
            self._progress(progress.fraction, progress.message)

    def left(self) -> float | None:
        """Seconds that are left, 0 at least; None without a limit."""
        moments = [self._end] if self._end is not None else []
        if self._idle_timeout is not None:
            moments.append(self._moved + self._idle_timeout)
        return max(0.0, min(moments) - self._now()) if moments else None

    def error(self, job: Job[Any, Any]) -> WaitTimeoutError:
        """What to raise once nothing is left."""
        if self._end is not None and self._timeout is not None and self._end <= self._now():
            return WaitTimeoutError(job, self._timeout)
        assert self._idle_timeout is not None
        return WaitTimeoutError(job, self._idle_timeout, idle=True)

    def _progress(self, fraction: Any, message: Any) -> None:
        if (fraction, message) != self._seen:
            self._seen = (fraction, message)
            self._moved = self._now()
