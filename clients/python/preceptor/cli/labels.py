"""`preceptor labels`"""

from pathlib import Path
from typing import Annotated

import typer

from .references import LABELS_FILE, student_labels
from .session import Session, command, new_group
from .tables import facts, moment, show_label_sets, some

group = new_group("Label sets: ordered class names under an id.")


@command(group, "add")
def add(
    session: Session,
    labels: Annotated[str | None, typer.Argument(metavar="A,B,C", help="Class names between commas.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help=f"The classes: {LABELS_FILE}"),
    ] = None,
) -> None:
    """Register a label set. The same names in the same order have the same id."""
    names = student_labels(session, labels, file)
    if names is None or isinstance(names, str):
        raise typer.BadParameter("give class names between commas, or --file")
    made = session.client.label_sets.create(names)
    if session.as_json:
        session.emit(made)
    else:
        facts(session, [("id", made.id), ("classes", len(made.labels)), ("labels", some(made.labels))])


@command(group, "list")
def list_label_sets(session: Session) -> None:
    """List the label sets, newest first."""
    found = list(session.client.label_sets.list(page_size=200))
    if session.as_json:
        session.emit(found)
    else:
        show_label_sets(session, found)


@command(group, "show")
def show(session: Session, label_set: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show one label set."""
    found = session.client.label_sets.get(label_set)
    if session.as_json:
        session.emit(found)
    else:
        pairs = [("id", found.id), ("classes", len(found.labels)), ("labels", ", ".join(found.labels))]
        facts(session, [*pairs, ("created", moment(found.created_at))])


@command(group, "rm")
def remove(session: Session, label_set: Annotated[list[str], typer.Argument(metavar="ID...")]) -> None:
    """Remove label sets. Teachers and jobs keep their own copy of the names."""
    for each in label_set:
        session.client.label_sets.delete(each)
    if session.as_json:
        session.emit({"removed": label_set})
    else:
        session.out.print(f"Removed {', '.join(label_set)}")
