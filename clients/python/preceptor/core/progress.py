"""Who watches a job while a caller waits."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from ..contract.jobs import JobEvent, JobSummary

Watch = bool | Callable[[JobEvent], None]
"""False: nobody. True: a progress bar on stderr. A function: it receives every event."""


@contextmanager
def watching(watch: Watch, job: JobSummary) -> Generator[Callable[[JobEvent], None] | None]:
    """The observer of a wait."""
    if job.status.terminal:
        yield None
    elif watch is True:
        from ..display import JobDisplay  # rich is slow to import and needed only here

        with JobDisplay(f"{job.kind} {job.id}") as display:
            yield display
    else:
        yield watch or None
