"""`preceptor teachers`"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..contract.teachers import Teacher, TeacherStatus
from ..core.folder import TeacherFolder
from .references import split_labels, teacher_id
from .session import Session, command, new_group
from .tables import show_teacher, show_teachers, size

group = new_group("The zoo: add, list, show, change and remove teachers.")

Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag; repeat it for several.")]
Reference = Annotated[str, typer.Argument(metavar="TEACHER", help="Id or exact name.")]


@command(group, "add")
def add(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="Folder with the model's files, and a teacher.json.")],
    name: Annotated[str | None, typer.Option(help="Its name; the manifest's or the folder's by default.")] = None,
    modality: Annotated[Literal["image", "text", "features"] | None, typer.Option(help="What it reads.")] = None,
    labels: Annotated[str | None, typer.Option(help="Class names between commas.")] = None,
    description: Annotated[str | None, typer.Option(help="A sentence or two.")] = None,
    tag: Tags = None,
    accuracy: Annotated[float | None, typer.Option(help="Its own test accuracy, 0 to 1.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the validation.")] = True,
) -> None:
    """Register a folder as a teacher, upload its files and have it validated."""
    prepared = TeacherFolder.read(
        folder,
        name=name,
        modality=modality,
        labels=split_labels(labels) if labels else None,
        description=description,
        tags=tag,
        accuracy=accuracy,
    )
    for reason in prepared.skipped.values():
        session.note(f"Not uploaded: {reason}")
    session.note(f"{prepared.body.name}: uploading {len(prepared.files)} files, {size(prepared.size)}")
    with session.transfers("uploading") as progress:
        teacher = session.client.teachers.add_folder(prepared, wait=wait, on_transfer=progress)
    _show(session, teacher)


def _show(session: Session, teacher: Teacher) -> None:
    if session.as_json:
        session.emit(teacher)
    else:
        show_teacher(session, teacher)


@command(group, "list")
def list_teachers(
    session: Session,
    status: Annotated[TeacherStatus | None, typer.Option(help="Only those.")] = None,
    tag: Tags = None,
    modality: Annotated[Literal["image", "text", "features"] | None, typer.Option(help="Only those.")] = None,
    name: Annotated[str | None, typer.Option(help="A part of the name.")] = None,
) -> None:
    """List the zoo, newest first."""
    found = list(session.client.teachers.list(status=status, tags=tag, modality=modality, name=name, page_size=200))
    if session.as_json:
        session.emit(found)
    else:
        show_teachers(session, found)


@command(group, "show")
def show(session: Session, teacher: Reference) -> None:
    """Show one teacher."""
    _show(session, session.client.teachers.get(teacher_id(session, teacher)))


@command(group, "update")
def update(
    session: Session,
    teacher: Reference,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    description: Annotated[str | None, typer.Option(help="New description.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="New tags, in place of the old.")] = None,
    accuracy: Annotated[float | None, typer.Option(help="Its own test accuracy, 0 to 1.")] = None,
) -> None:
    """Change what is said of a teacher. The model and its labels never change."""
    if all(value is None for value in (name, description, tag, accuracy)):
        raise typer.BadParameter("nothing to change: give --name, --description, --tag or --accuracy")
    changed = session.client.teachers.update(
        teacher_id(session, teacher), name=name, description=description, tags=tag, accuracy=accuracy
    )
    _show(session, changed)


@command(group, "rm")
def remove(
    session: Session, teacher: Annotated[list[str], typer.Argument(metavar="TEACHER...", help="Ids or names.")]
) -> None:
    """Remove teachers and their files."""
    ids = [teacher_id(session, each) for each in teacher]
    for each in ids:
        session.client.teachers.delete(each)
    if session.as_json:
        session.emit({"removed": ids})
    else:
        session.out.print(f"Removed {', '.join(ids)}")
