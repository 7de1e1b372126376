"""`preceptor students`"""

from pathlib import Path
from typing import Annotated

import typer

from .session import Session, command, new_group
from .tables import show_student, show_students, show_teacher

group = new_group("Distilled students: list, show, download, promote to teachers, remove.")
Id = Annotated[str, typer.Argument(metavar="STUDENT", help="Id of a student.")]


@command(group, "list")
def list_students(session: Session) -> None:
    """List the students, newest first."""
    found = list(session.client.students.list(page_size=200))
    if session.as_json:
        session.emit(found)
    else:
        show_students(session, found)


@command(group, "show")
def show(session: Session, student: Id) -> None:
    """Show a student and its files."""
    found = session.client.students.get(student)
    if session.as_json:
        session.emit(found)
    else:
        show_student(session, found)


@command(group, "download")
def download(
    session: Session,
    student: Id,
    artifact: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="Names of files; all of them by default.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", file_okay=False, help="Folder to write to.")
    ] = Path(),
) -> None:
    """Download a student's files. An interrupted download resumes; SHA-256 is checked."""
    found = session.client.students.get(student)
    names = artifact or [file.name for file in found.artifacts]
    output.mkdir(parents=True, exist_ok=True)
    with session.transfers("downloading") as progress:
        paths = [session.client.students.download(found, name, output, on_transfer=progress) for name in names]
    if session.as_json:
        session.emit({"files": [str(path) for path in paths]})
    else:
        for path in paths:
            session.out.print(str(path), soft_wrap=True)


@command(group, "rm")
def remove(session: Session, student: Annotated[list[str], typer.Argument(metavar="STUDENT...")]) -> None:
    """Remove students and their files. A teacher that a student was promoted to stays."""
    for each in student:
        session.client.students.delete(each)
    if session.as_json:
        session.emit({"removed": student})
    else:
        session.out.print(f"Removed {', '.join(student)}")


@command(group, "promote")
def promote(
    session: Session,
    student: Id,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the teacher; the student's by default.")
    ] = None,
) -> None:
    """Register a student as a teacher; it is validated like any other."""
    teacher = session.client.students.promote(student, name)
    if session.as_json:
        session.emit(teacher)
    else:
        show_teacher(session, teacher)
