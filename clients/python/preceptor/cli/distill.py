"""`preceptor distill`"""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import typer

from ..contract.ids import RECOMMENDATION, is_id
from ..contract.jobs import Priority
from ..errors import PreceptorError, ServiceUnreachableError, StatusError
from ..options import LossOptions, StudentOptions, TrainingOptions
from .distillation_output import show_verdict
from .job_output import finish
from .references import LabelsFile, probe_id, student_labels, teacher_id
from .session import Session, command

_BUILT_IN: Final[tuple[Literal["auto", "cnn", "bow", "mlp"], ...]] = ("auto", "cnn", "bow", "mlp")


def attach(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "distill")(distill)


def distill(
    session: Session,
    data: Annotated[str, typer.Option(metavar="FILE_OR_ID", help="A labelled probe to train on.")],
    transfer: Annotated[
        str | None,
        typer.Option(metavar="FILE_OR_ID", help="A probe whose items only the teachers label."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="FILE_OR_ID", help="A labelled probe to measure on; by default a quarter of the data."),
    ] = None,
    teacher: Annotated[
        list[str] | None, typer.Option(metavar="ID_OR_NAME", help="A teacher; repeat it for several.")
    ] = None,
    recommendation: Annotated[
        str | None, typer.Option(metavar="ID", help="Take the first teachers of this recommendation.")
    ] = None,
    team: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=16, help="How many teachers of the recommendation; 1 by default."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="The student's classes, where the data does not name them.")
    ] = None,
    labels_file: LabelsFile = None,
    student: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="auto (default), cnn, bow or mlp; transformers: or timm: and an architecture; or a teacher's id or "
            "name, to start from its weights.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Passes over the data; 20 by default.")] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=20, help="Repetitions, for the interval; 1 by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="First seed; 0 by default.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", min=1, help="Items a step; 64 by default.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Anything else of the training: schedule=cosine, ema=0.99, early_stopping.patience=5, precision=bf16, "
            "time_limit_seconds=600, ... (repeat it for several).",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Distillation loss: transport (default), ridge_map, relational, ..."),
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(metavar="W", min=0, help="Weight of the teacher; by default chosen by cross-validation."),
    ] = None,
    compare: Annotated[bool, typer.Option(help="Also train without a teacher, and report the gain.")] = True,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Compare with label smoothing and with teachers of random weights as well."),
    ] = False,
    priority: Annotated[
        Priority | None,
        typer.Option(metavar="P", help="low: behind everybody's jobs; high: before your own others; or normal."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the student.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", file_okay=False, help="Download the artifacts into this folder.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the result.")] = True,
) -> None:
    """Train a student from teachers across label sets, and say whether they helped."""
    if (not teacher) == (recommendation is None):
        raise typer.BadParameter("give either --teacher (once or more) or --recommendation")
    if output is not None and not wait:
        raise typer.BadParameter("--output needs --wait: there is nothing to download before the job has ended")
    if controls and not compare:
        raise typer.BadParameter("--controls compares; leave --no-compare out")
    if recommendation is not None and not is_id(RECOMMENDATION, recommendation):
        raise typer.BadParameter(f"{recommendation!r} is not the id of a recommendation (rec_...)")
    names = student_labels(session, labels, labels_file)
    numbering = names if isinstance(names, list) else None
    training = {"epochs": epochs, "seeds": seeds, "seed": seed, "batch_size": batch_size}
    chosen = {name: value for name, value in training.items() if value is not None} | _settings(set_ or [])
    loss_options = {"name": loss, "weight": weight}
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
        loss=cast(
            "LossOptions | None", {name: value for name, value in loss_options.items() if value is not None} or None
        ),
        training=cast("TrainingOptions | None", chosen or None),
        compare="full" if controls else compare,
        priority=priority,
        name=name,
    )
    result = finish(session, job, wait=wait, show=lambda result: show_verdict(session, result))
    if output is not None and result is not None:
        with session.transfers("downloading") as progress:
            paths = session.client.students.download_all(result.student, output, on_transfer=progress)
        session.note(f"Wrote {', '.join(path.name for path in paths)} to {output}")


def _settings(given: list[str]) -> dict[str, Any]:
    """`a=1` and `b.c=x` as an object; a value is JSON where it can be read so, else text."""
    found: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not (name and equals and text):
            raise typer.BadParameter(f"--set {each!r}: write NAME=VALUE, for example --set schedule=cosine")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *outer, last = name.split(".")
        place = found
        for key in outer:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"--set {each!r}: {key!r} has been given a value already")
        place[last] = value
    return found


def _student(session: Session, text: str | None) -> StudentOptions | None:
    if text is None:
        return None
    kind, _, name = text.partition(":")
    if text in _BUILT_IN:
        return {"kind": "builtin", "name": text}
    if kind == "transformers" and name:
        return {"kind": "transformers", "model_type": name}
    if kind == "timm" and name:
        return {"kind": "timm", "architecture": name}
    try:
        return {"kind": "registered", "teacher": teacher_id(session, text)}
    except PreceptorError as error:
        if isinstance(error, StatusError | ServiceUnreachableError):
            raise
        raise PreceptorError(
            f"--student: {error}. Built in are {', '.join(_BUILT_IN)}; an architecture is written "
            "transformers:TYPE or timm:NAME"
        ) from error
