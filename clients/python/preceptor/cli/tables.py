"""Tables of resources."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

from rich import box
from rich.table import Table

from ..contract.distillations import Student
from ..contract.jobs import JobSummary
from ..contract.labels import LabelSet
from ..contract.probes import Probe
from ..contract.teachers import Teacher
from ..errors import describe
from ..text import plain
from .session import Session

Justify = Literal["left", "right"]


def table(*columns: str | tuple[str, Justify], title: str | None = None) -> Table:
    """An empty table; identifiers and names wrap rather than vanish."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for column in columns:
        name, justify = (column, "left") if isinstance(column, str) else column
        made.add_column(name, justify=justify, overflow="fold", no_wrap=name == "id")
    return made


def row(to: Table, *cells: object) -> None:
    """Add a row."""
    to.add_row(*("" if cell is None else plain(str(cell)) for cell in cells))


def facts(session: Session, pairs: Iterable[tuple[str, object]]) -> None:
    """One thing, a line a fact; those that are absent are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None and value != "":
            grid.add_row(name, plain(str(value)))
    session.out.print(grid)


def some(names: Sequence[str] | None, most: int = 12) -> str | None:
    """Names in one line, the first ones where there are many."""
    if not names:
        return None
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def seconds(value: float) -> str:
    """A duration for people."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min"


def moment(value: datetime | None) -> str | None:
    """A point in time, UTC."""
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def show_teachers(session: Session, teachers: list[Teacher]) -> None:
    if not teachers:
        session.note("The zoo is empty. Add a teacher with `preceptor teachers add FOLDER`")
        return
    made = table("id", "name", "status", "source", "modality", ("classes", "right"), "tags")
    for teacher in teachers:
        classes = len(teacher.labels) if teacher.labels else None
        tags = ", ".join(teacher.tags)
        row(made, teacher.id, teacher.name, teacher.status, teacher.source.kind, teacher.modality, classes, tags)
    session.out.print(made)


def show_teacher(session: Session, teacher: Teacher) -> None:
    facts(
        session,
        [
            ("id", teacher.id),
            ("name", teacher.name),
            ("status", teacher.status.value),
            ("reason", teacher.reason),
            ("source", teacher.source.kind),
            ("modality", teacher.modality),
            ("classes", len(teacher.labels) if teacher.labels else None),
            ("labels", some(teacher.labels)),
            ("description", teacher.description),
            ("tags", ", ".join(teacher.tags)),
            ("accuracy", None if teacher.accuracy is None else f"{teacher.accuracy:.4f} (as claimed)"),
            ("parameters", None if teacher.parameters is None else f"{teacher.parameters:,}"),
            ("files", some([f"{file.name} ({size(file.size)})" for file in teacher.files])),
            ("promoted from", teacher.promoted_from),
            ("validation", teacher.validation),
            ("created", moment(teacher.created_at)),
            ("updated", moment(teacher.updated_at)),
        ],
    )


def show_probes(session: Session, probes: list[Probe]) -> None:
    if not probes:
        session.note("There are no probes. Upload one with `preceptor probes add FILE`")
        return
    made = table("id", "modality", ("items", "right"), "labelled", ("classes", "right"), "format", ("size", "right"))
    for probe in probes:
        classes = len(probe.labels) if probe.labels else None
        labelled = "yes" if probe.labelled else "no"
        row(made, probe.id, probe.modality, probe.items, labelled, classes, probe.format, size(probe.size))
    session.out.print(made)


def show_probe(session: Session, probe: Probe) -> None:
    counts = None
    if probe.labels and probe.counts:
        counts = some([f"{label} ({count})" for label, count in zip(probe.labels, probe.counts, strict=False)])
    facts(
        session,
        [
            ("id", probe.id),
            ("modality", probe.modality),
            ("items", probe.items),
            ("labelled", "yes" if probe.labelled else "no"),
            ("labels", counts or some(probe.labels)),
            ("dimension", probe.dimension),
            ("format", probe.format),
            ("size", size(probe.size)),
            ("created", moment(probe.created_at)),
        ],
    )


def show_label_sets(session: Session, label_sets: list[LabelSet]) -> None:
    if not label_sets:
        session.note("There are no label sets. Add one with `preceptor labels add cat,dog`")
        return
    made = table("id", ("classes", "right"), "labels")
    for entry in label_sets:
        row(made, entry.id, len(entry.labels), some(entry.labels, 6))
    session.out.print(made)


def show_jobs(session: Session, jobs: list[JobSummary]) -> None:
    if not jobs:
        session.note("There are no such jobs")
        return
    made = table("id", "kind", "status", ("progress", "right"), "created", "note")
    for job in jobs:
        fraction = f"{job.progress.fraction:.0%}" if job.progress and not job.status.terminal else None
        note = job.error.detail if job.error else job.progress.message if job.progress else None
        row(made, job.id, job.kind, job.status, fraction, moment(job.created_at), note)
    session.out.print(made)


def show_job(session: Session, job: JobSummary) -> None:
    taken = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None
    facts(
        session,
        [
            ("id", job.id),
            ("kind", job.kind),
            ("status", job.status.value),
            ("error", describe(job.error) if job.error else None),
            ("progress", f"{job.progress.fraction:.0%} {job.progress.message}" if job.progress else None),
            ("created", moment(job.created_at)),
            ("started", moment(job.started_at)),
            ("finished", moment(job.finished_at)),
            ("ran", seconds(taken) if taken is not None else None),
            ("deliveries", job.deliveries or None),
        ],
    )


def show_students(session: Session, students: list[Student]) -> None:
    if not students:
        session.note("There are no students. Train one with `preceptor distill`")
        return
    made = table("id", "name", ("classes", "right"), "artifacts", "promoted to")
    for student in students:
        files = some([file.name for file in student.artifacts])
        row(made, student.id, student.name, len(student.labels), files, student.promoted_to)
    session.out.print(made)


def show_student(session: Session, student: Student) -> None:
    facts(
        session,
        [
            ("id", student.id),
            ("name", student.name),
            ("distillation", student.distillation),
            ("labels", some(student.labels)),
            ("promoted to", student.promoted_to),
        ],
    )
    made = table("artifact", ("size", "right"), "sha256")
    for file in student.artifacts:
        row(made, file.name, size(file.size), file.sha256)
    session.out.print(made)
