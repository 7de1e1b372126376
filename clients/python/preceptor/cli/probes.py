"""`preceptor probes`"""

from pathlib import Path
from typing import Annotated

import typer

from ..contract.probes import ProbeFormat
from .references import LabelsFile, probe_file, student_labels, upload_probe
from .session import Session, command, new_group
from .tables import show_probe, show_probes

group = new_group("Samples of the student's data: check, add, list, show and remove.")


File = Annotated[Path, typer.Argument(metavar="FILE", help="A .npz, .parquet, .zip, .jsonl or .csv file.")]
Names = Annotated[
    str | None,
    typer.Option(metavar="A,B,C", help="Class names between commas, if the data holds class numbers only."),
]
Format = Annotated[
    ProbeFormat | None,
    typer.Option(metavar="FORMAT", help="npz, parquet, zip, jsonl or csv, if the file name does not tell."),
]


@command(group, "add")
def add(
    session: Session,
    file: File,
    labels: Names = None,
    labels_file: LabelsFile = None,
    format: Format = None,
) -> None:
    """Upload a probe. The same content has the same id."""
    probe = upload_probe(session, file, _labels(session, labels, labels_file), format)
    if session.as_json:
        session.emit(probe)
    else:
        show_probe(session, probe)


@command(group, "check")
def check(
    session: Session,
    file: File,
    labels: Names = None,
    labels_file: LabelsFile = None,
    format: Format = None,
) -> None:
    """Show how a file would be read: modality, classes, columns, warnings and examples. Stores nothing."""
    names = _labels(session, labels, labels_file)
    with session.transfers("uploading") as progress:
        found = session.client.probes.check(probe_file(file), names, format, on_transfer=progress)
    if session.as_json:
        session.emit(found)
    else:
        show_probe(session, found)
        session.out.print("Nothing was stored.")


def _labels(session: Session, labels: str | None, file: Path | None) -> list[str] | None:
    names = student_labels(session, labels, file)
    if isinstance(names, str):
        raise typer.BadParameter("a probe takes class names, not the id of a label set")
    return names


@command(group, "list")
def list_probes(session: Session) -> None:
    """List the probes, newest first."""
    found = list(session.client.probes.list(page_size=200))
    if session.as_json:
        session.emit(found)
    else:
        show_probes(session, found)


@command(group, "show")
def show(session: Session, probe: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show one probe."""
    found = session.client.probes.get(probe)
    if session.as_json:
        session.emit(found)
    else:
        show_probe(session, found)


@command(group, "rm")
def remove(session: Session, probe: Annotated[list[str], typer.Argument(metavar="ID...")]) -> None:
    """Remove probes and their items."""
    for each in probe:
        session.client.probes.delete(each)
    if session.as_json:
        session.emit({"removed": probe})
    else:
        session.out.print(f"Removed {', '.join(probe)}")
