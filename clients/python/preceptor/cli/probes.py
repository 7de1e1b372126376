"""`preceptor probes`"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .references import split_labels, upload_probe
from .session import Session, command, new_group
from .tables import show_probe, show_probes

group = new_group("Samples of the student's data: add, list, show and remove.")


@command(group, "add")
def add(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .npz, .parquet, .zip, .jsonl or .csv file.")],
    labels: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Class names between commas, where the data holds class numbers only."),
    ] = None,
    format: Annotated[
        Literal["npz", "parquet", "zip", "jsonl", "csv"] | None,
        typer.Option(metavar="FORMAT", help="npz, parquet, zip, jsonl or csv, where the ending does not tell."),
    ] = None,
) -> None:
    """Upload a probe. The same content has the same id."""
    probe = upload_probe(session, file, split_labels(labels) if labels else None, format)
    if session.as_json:
        session.emit(probe)
    else:
        show_probe(session, probe)


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
