"""`preceptor recommend`"""

from typing import Annotated, get_args

import typer

from ..contract.jobs import Priority
from ..contract.recommendations import Method, Mode
from ..contract.teachers import Modality
from .job_output import finish
from .recommendation_output import show_ranking
from .references import LabelsFile, probe_id, student_labels, teacher_id
from .session import Session, command


def attach(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "recommend")(recommend)


def recommend(
    session: Session,
    labels: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="The student's classes between commas, or the id of a label set."),
    ] = None,
    labels_file: LabelsFile = None,
    probe: Annotated[str | None, typer.Option(metavar="FILE_OR_ID", help="A sample of the student's data.")] = None,
    teacher: Annotated[
        list[str] | None, typer.Option(metavar="ID_OR_NAME", help="Only this teacher; repeat it for several.")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Only teachers with this tag; with several, with all of them."),
    ] = None,
    modality: Annotated[
        Modality | None, typer.Option(metavar="KIND", help="Only teachers of image, text or features.")
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            metavar="METHOD",
            help=f"How to compare: {', '.join(get_args(Method))}. By default auto: a blend of several where "
            "there is a labelled probe, else label_transport.",
        ),
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(
            metavar="MODE",
            help="For label transport: coverage (default), or balanced, which counts a teacher's surplus classes "
            "against it.",
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=1000, help="How many teachers to rank; 10 by default.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="With a probe: after so long no further teacher is asked, nearest first."),
    ] = None,
    priority: Annotated[
        Priority | None,
        typer.Option(metavar="P", help="low: behind everybody's jobs; high: before your own others; or normal."),
    ] = None,
    explain: Annotated[
        int, typer.Option(metavar="N", min=0, help="For how many teachers to show where the mass comes from.")
    ] = 1,
    wait: Annotated[bool, typer.Option(help="Wait for the result.")] = True,
) -> None:
    """Rank the zoo for a student: by its class names, or sharper with a sample of its data."""
    student = student_labels(session, labels, labels_file)
    if student is None and probe is None:
        raise typer.BadParameter("give the student's classes (--labels or --labels-file), its data (--probe), or both")
    numbering = student if isinstance(student, list) else None
    job = session.client.recommendations.create(
        student,
        probe_id(session, probe, numbering),
        teachers=[teacher_id(session, each) for each in teacher] if teacher else None,
        tags=tag,
        modality=modality,
        method=method,
        mode=mode,
        top_k=top_k,
        budget_seconds=budget,
        priority=priority,
        wait=1 if wait else None,
    )
    finish(session, job, wait=wait, show=lambda result: show_ranking(session, result, explain))
