"""`preceptor distill`"""

from pathlib import Path
from typing import Annotated

import typer

from .following import finish
from .references import probe_id, student_labels, teacher_id
from .session import Session, command
from .verdict import show_verdict

_BUILT_IN = ("auto", "cnn", "bow", "mlp")


def attach(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "distill")(distill)


def distill(
    session: Session,
    data: Annotated[str, typer.Option(metavar="FILE_OR_ID", help="A labelled probe to train on.")],
    transfer: Annotated[
        str | None,
        typer.Option(metavar="FILE_OR_ID", help="An unlabelled probe on which only the teachers speak."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="FILE_OR_ID", help="A labelled probe to measure on; a part of the data by default."),
    ] = None,
    teacher: Annotated[list[str] | None, typer.Option(help="A teacher (id or name); repeat it for several.")] = None,
    recommendation: Annotated[
        str | None, typer.Option(metavar="ID", help="Take the first teachers of this recommendation.")
    ] = None,
    team: Annotated[int | None, typer.Option(min=1, max=16, help="How many of them.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="The student's classes, where the data does not name them.")
    ] = None,
    labels_file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="The same from a file.")] = None,
    student: Annotated[
        str | None,
        typer.Option(
            help="auto, cnn, bow or mlp (built in); transformers:TYPE; timm:ARCHITECTURE; or the id of a teacher "
            "to start from."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=20, help="Repetitions, for the interval.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="First seed.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Items a step.")] = None,
    weight: Annotated[float | None, typer.Option(min=0, help="Weight of the teacher; chosen by default.")] = None,
    compare: Annotated[bool, typer.Option(help="Also train without a teacher, and report the gain.")] = True,
    name: Annotated[str | None, typer.Option(help="Name of the student.")] = None,
    output: Annotated[
        Path | None, typer.Option(file_okay=False, help="Download the artifacts into this folder.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the result.")] = True,
) -> None:
    """Train a student from teachers across label sets, and say whether they helped."""
    if (not teacher) == (recommendation is None):
        raise typer.BadParameter("give either --teacher (once or more) or --recommendation")
    if output is not None and not wait:
        raise typer.BadParameter("--output needs --wait: there is nothing to download before the job has ended")
    names = student_labels(labels, labels_file)
    numbering = names if isinstance(names, list) else None
    training = {"epochs": epochs, "seeds": seeds, "seed": seed, "batch_size": batch_size}
    chosen = {name: value for name, value in training.items() if value is not None}
    model = _student(session, student)
    teachers = [teacher_id(session, each) for each in teacher] if teacher else None
    data_id = probe_id(session, data, numbering)
    assert data_id is not None
    job = session.client.distillations.create(
        data_id,
        teachers=teachers,
        recommendation=recommendation,
        team=team,
        transfer=probe_id(session, transfer),
        test=probe_id(session, test, numbering),
        labels=names,
        student=model,
        loss=None if weight is None else {"weight": weight},
        training=chosen or None,
        compare=compare,
        name=name,
    )
    result = finish(session, job, wait=wait, show=lambda result: show_verdict(session, result))
    if output is not None and result is not None:
        with session.transfers("downloading") as progress:
            paths = session.client.students.download_all(result.student, output, on_transfer=progress)
        session.note(f"Wrote {', '.join(path.name for path in paths)} to {output}")


def _student(session: Session, text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    kind, _, name = text.partition(":")
    if text in _BUILT_IN:
        return {"kind": "builtin", "name": text}
    if kind == "transformers" and name:
        return {"kind": "transformers", "model_type": name}
    if kind == "timm" and name:
        return {"kind": "timm", "architecture": name}
    return {"kind": "registered", "teacher": teacher_id(session, text)}
