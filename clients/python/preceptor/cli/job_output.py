"""Waiting for a job at the terminal."""

from collections.abc import Callable
from typing import Any, TypeVar

import typer

from ..resources.jobs import JobHandle
from .session import Session

Res = TypeVar("Res")


def finish(session: Session, job: JobHandle[Any, Res], *, wait: bool, show: Callable[[Res], None]) -> Res | None:
    """Wait where it is wanted, then print the result (or the whole job, as JSON) -> the result, None without one.

    A job that failed is an error, after its JSON was printed.
    """
    if not wait and not job.status.terminal:
        if session.as_json:
            session.emit(job.job)
        else:
            session.out.print(f"{job.id} is {job.status.value}. Follow it with `preceptor jobs wait {job.id}`")
        return None
    try:
        result = job.wait(progress=True)
    except KeyboardInterrupt:
        session.note(
            f"\nStopped waiting; {job.id} continues. `preceptor jobs wait {job.id}` waits again, "
            f"`preceptor jobs cancel {job.id}` stops it"
        )
        raise typer.Exit(130) from None
    finally:
        if session.as_json and job.status.terminal:
            session.emit(job.job)
    if not session.as_json:
        show(result)
    return result
