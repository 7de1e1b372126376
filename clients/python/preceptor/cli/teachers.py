"""`preceptor teachers`"""

from pathlib import Path
from typing import Annotated

import typer

from ..contract.teachers import Modality, Teacher, TeacherStatus
from ..core.files.teacher_folder import TeacherFolder
from ..errors import TeacherRejectedError
from ..text import plain
from .references import LabelsFile, student_labels, teacher_id
from .session import Session, command, new_group
from .tables import remarks, show_checked_teacher, show_teacher, show_teachers, size

group = new_group("The zoo: check, add, list, show, change and remove teachers.")

Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag; repeat it for several.")]
Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The model's files, with a teacher.json where they do not name all.")
]
Reads = Annotated[Modality | None, typer.Option(metavar="KIND", help="What it reads: image, text or features.")]
Names = Annotated[str | None, typer.Option(metavar="A,B,C", help="Class names between commas.")]
Reference = Annotated[str, typer.Argument(metavar="TEACHER", help="Id or exact name.")]


@command(group, "add")
def add(
    session: Session,
    folder: Folder,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name; by default from teacher.json, else the folder's.")
    ] = None,
    modality: Reads = None,
    labels: Names = None,
    labels_file: LabelsFile = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="A sentence or two.")] = None,
    tag: Tags = None,
    accuracy: Annotated[float | None, typer.Option(metavar="SHARE", help="Its own test accuracy, 0 to 1.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the validation.")] = True,
) -> None:
    """Register a folder as a teacher, upload its files and have it validated."""
    prepared = TeacherFolder.read(
        folder,
        name=name,
        modality=modality,
        labels=_labels(session, labels, labels_file),
        description=description,
        tags=tag,
        accuracy=accuracy,
    )
    _announce(session, prepared)
    try:
        with session.transfers("uploading") as progress:
            teacher = session.client.teachers.add_folder(prepared, wait=wait, on_transfer=progress)
    except KeyboardInterrupt:
        session.note(
            "\nStopped. If all files were uploaded, the validation continues: `preceptor teachers list` shows it"
        )
        raise typer.Exit(130) from None
    except TeacherRejectedError as error:
        session.note(f"It stays in the zoo, but takes no part; `preceptor teachers rm {error.teacher.id}` removes it")
        raise
    _show(session, teacher)


@command(group, "check")
def check(
    session: Session, folder: Folder, modality: Reads = None, labels: Names = None, labels_file: LabelsFile = None
) -> None:
    """Show what would be understood and assumed of a folder, and whether it would be usable. Registers nothing.

    The folder is uploaded and validated as by `add`, and removed afterwards.
    """
    prepared = TeacherFolder.read(folder, modality=modality, labels=_labels(session, labels, labels_file))
    session.note(f"{prepared.body.name}: uploading {_files(len(prepared.files))}, {size(prepared.size)}")
    try:
        with session.transfers("uploading") as progress:
            teacher = session.client.teachers.check(prepared, on_transfer=progress)
    except KeyboardInterrupt:
        session.note("\nStopped. The service removes what was uploaded within two hours")
        raise typer.Exit(130) from None
    rejected = teacher.status is TeacherStatus.REJECTED
    if session.as_json:
        session.emit(
            {
                "teacher": teacher.model_dump(mode="json"),
                "notes": list(prepared.notes),
                "skipped": dict(prepared.skipped),
            }
        )
    else:
        show_checked_teacher(session, teacher)
        remarks(session, "Note", prepared.notes)
        remarks(session, "Not uploaded", prepared.skipped.values())
        verdict = f"Rejected: {teacher.reason}" if rejected else "It can be used"
        session.out.print(f"{plain(verdict)}. Nothing was registered." if not rejected else plain(verdict))
    if rejected:
        raise typer.Exit(1)


def _labels(session: Session, labels: str | None, file: Path | None) -> list[str] | None:
    names = student_labels(session, labels, file)
    if isinstance(names, str):
        raise typer.BadParameter("a teacher takes class names, not the id of a label set")
    return names


def _announce(session: Session, folder: TeacherFolder) -> None:
    """Say before an upload what was assumed and what stays behind."""
    for note in folder.notes:
        session.note(f"Note: {note}")
    for reason in folder.skipped.values():
        session.note(f"Not uploaded: {reason}")
    session.note(f"{folder.body.name}: uploading {_files(len(folder.files))}, {size(folder.size)}")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _show(session: Session, teacher: Teacher) -> None:
    if session.as_json:
        session.emit(teacher)
    else:
        show_teacher(session, teacher)


@command(group, "list")
def list_teachers(
    session: Session,
    status: Annotated[
        TeacherStatus | None,
        typer.Option(metavar="STATUS", help="Only those that are awaiting_files, validating, ready or rejected."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Only those with this tag.")] = None,
    modality: Annotated[
        Modality | None, typer.Option(metavar="KIND", help="Only those of image, text or features.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those with this in the name.")] = None,
) -> None:
    """List the zoo, newest first."""
    found = list(session.client.teachers.list(status=status, tags=tag, modality=modality, name=name, page_size=200))
    if session.as_json:
        session.emit(found)
    else:
        show_teachers(session, found, all_of_them=not (status or tag or modality or name))


@command(group, "show")
def show(session: Session, teacher: Reference) -> None:
    """Show one teacher."""
    _show(session, session.client.teachers.get(teacher_id(session, teacher)))


@command(group, "update")
def update(
    session: Session,
    teacher: Reference,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="New name.")] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="New description.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="New tags, in place of the old.")
    ] = None,
    accuracy: Annotated[float | None, typer.Option(metavar="SHARE", help="Its own test accuracy, 0 to 1.")] = None,
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
