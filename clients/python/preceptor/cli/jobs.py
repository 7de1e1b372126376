"""`preceptor jobs` and `preceptor events`"""

from typing import Annotated, Any, cast

import typer

from ..contract.distillations import DistillationResult
from ..contract.jobs import JobEvent, JobKind, JobStatus
from ..contract.recommendations import RecommendationResult
from ..contract.teachers import TeacherStatus
from ..contract.validations import ValidationResult
from ..core.events import status_of
from ..display import epoch_line
from ..resources.jobs import JobHandle
from ..text import plain
from .distillation_output import show_verdict
from .job_output import finish
from .recommendation_output import show_ranking
from .session import Session, command, new_group
from .tables import facts, seconds, show_job, show_jobs

group = new_group("Jobs: list, show, wait for and cancel.")
Id = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job.")]


@command(group, "list")
def list_jobs(
    session: Session,
    kind: Annotated[
        JobKind | None,
        typer.Option(metavar="KIND", help="Only this: recommendation, distillation or validation."),
    ] = None,
    status: Annotated[
        JobStatus | None,
        typer.Option(
            metavar="STATUS", help="Only those that are queued, running, canceling, canceled, failed or succeeded."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many, newest first.")] = 50,
) -> None:
    """List jobs, newest first."""
    pager = session.client.jobs.list(kind=kind, status=status, page_size=min(limit, 200))
    found = [job for job, _ in zip(pager, range(limit), strict=False)]
    if session.as_json:
        session.emit(found)
    else:
        show_jobs(session, found)


@command(group, "show")
def show(session: Session, job: Id) -> None:
    """Show a job, and its result once it has one."""
    found = session.client.jobs.get(job)
    if session.as_json:
        session.emit(found.job)
        return
    show_job(session, found.job)
    if found.result is not None:
        session.out.print()
        _show_result(session, found.result)


def _show_result(session: Session, result: Any) -> None:
    match result:
        case RecommendationResult():
            show_ranking(session, result, 1)
        case DistillationResult():
            show_verdict(session, result)
        case ValidationResult():
            rejected = result.status is TeacherStatus.REJECTED
            verdict = "rejected: the teacher cannot be used" if rejected else result.status.value
            facts(session, [("verdict", verdict), ("reason", result.reason), ("took", seconds(result.seconds))])
        case _:
            raise AssertionError(type(result))


@command(group, "wait")
def wait(session: Session, job: Id) -> None:
    """Wait for a job and show its result."""
    found = cast(JobHandle[Any, Any], session.client.jobs.get(job))
    finish(session, found, wait=True, show=lambda result: _show_result(session, result))


@command(group, "cancel")
def cancel(session: Session, job: Id) -> None:
    """Ask for the end of a job. A job that has ended stays as it is."""
    summary = session.client.jobs.cancel(job)
    if session.as_json:
        session.emit(summary)
    else:
        session.out.print(f"{summary.id} is {summary.status.value}")


def attach(app: typer.Typer) -> None:
    """Add the command `events`."""
    command(app, "events")(events)


def events(
    session: Session,
    job: Id,
    after: Annotated[str | None, typer.Option(metavar="EVENT_ID", help="Only events after this one.")] = None,
) -> None:
    """Print a job's events until it ends; with --json, one object a line."""
    for event in session.client.jobs.events(job, after):
        if session.as_json:
            session.emit_line(event)
        else:
            session.out.print(f"{event.at:%H:%M:%S}  {event.event:<8}  {plain(_line(event))}", soft_wrap=True)


def _line(event: JobEvent) -> str:
    data = event.data
    if status := status_of(event):
        return status.value
    match event.event:
        case "progress":
            left = data.get("remaining_seconds")
            more = f" (about {seconds(left)} left)" if isinstance(left, int | float) else ""
            return f"{float(data.get('fraction') or 0):4.0%} {data.get('message', '')}{more}"
        case "epoch":
            return epoch_line(data)
        case "teacher":
            score = data.get("score")
            said = f"{score:.4f}" if isinstance(score, int | float) else str(data.get("reason") or "no score")
            return f"{data.get('name', '?')}: {said}"
        case "log":
            return str(data.get("message", ""))
        case _:
            return ", ".join(f"{name} {value}" for name, value in data.items())
