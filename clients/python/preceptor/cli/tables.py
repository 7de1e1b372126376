"""Tables of resources."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel
from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from ..contract.distillations import Gain, Student
from ..contract.jobs import JobStatus, JobSummary
from ..contract.labels import LabelSet
from ..contract.probes import Probe, ProbeCheck
from ..contract.teachers import Teacher
from ..errors import describe
from ..text import plain
from .session import Session

Justify = Literal["left", "right"]
_GAP = 3
"""Characters between two columns."""


class Listing:
    """Rows under columns. On a narrow terminal some columns give way, so that the others can be read.

    Parameters
    ----------
    columns
        Names; with "right" for numbers.
    give_way
        Columns that are left out where the width does not suffice, in this order. JSON always has everything.
    room
        Characters from which on a cell may as well be wrapped.
    sparse
        Whether a column without a single entry is left out.
    """

    def __init__(
        self,
        *columns: str | tuple[str, Justify],
        give_way: Sequence[str] = (),
        room: int = 28,
        sparse: bool = False,
        title: str | None = None,
    ) -> None:
        self._columns: list[tuple[str, Justify]] = [
            (column, "left") if isinstance(column, str) else column for column in columns
        ]
        self._give_way = give_way
        self._room = room
        self._sparse = sparse
        self._title = title
        self._rows: list[list[str]] = []

    def row(self, *cells: object) -> None:
        """Add a row; None is an empty cell."""
        self._rows.append(["" if cell is None else plain(str(cell)) for cell in cells])

    def show(self, session: Session) -> None:
        """Print it; identifiers and names wrap rather than vanish."""
        filled = {index for cells in self._rows for index, cell in enumerate(cells) if cell}
        kept = [index for index in range(len(self._columns)) if index in filled or not self._sparse]
        for name in self._give_way:
            if sum(self._width(index) for index in kept) + _GAP * len(kept) <= session.out.width:
                break
            kept = [index for index in kept if self._columns[index][0] != name]
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=self._title, title_justify="left")
        for index in kept:
            name, justify = self._columns[index]
            made.add_column(name, justify=justify, overflow="fold", no_wrap=name == "id")
        for cells in self._rows:
            made.add_row(*(cells[index] for index in kept))
        session.out.print(made)

    def _width(self, index: int) -> int:
        name = self._columns[index][0]
        widest = max((cell_len(cells[index]) for cells in self._rows), default=0)
        return max(cell_len(name), widest if name == "id" else min(widest, self._room))


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
    return ", ".join(map(quoted, names[:most])) + more


def quoted(name: str) -> str:
    """A name as it stands in a line of names: in quotes if it contains a comma or a quote."""
    return json.dumps(name, ensure_ascii=False) if "," in name or '"' in name else name


def remarks(session: Session, kind: str, lines: Iterable[str]) -> None:
    """A line a remark, in yellow."""
    for line in lines:
        session.out.print(Text(f"{kind}: {plain(line)}", style="yellow"))


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


def show_teachers(session: Session, teachers: list[Teacher], *, all_of_them: bool) -> None:
    if not teachers:
        empty = "The zoo is empty. Add a teacher with `preceptor teachers add FOLDER`"
        session.note(empty if all_of_them else "There are no such teachers; `preceptor teachers list` shows all")
        return
    made = Listing(
        "id",
        "name",
        "status",
        "source",
        "modality",
        ("classes", "right"),
        "tags",
        give_way=("source", "tags", "modality"),
    )
    for teacher in teachers:
        classes = len(teacher.labels) if teacher.labels else None
        tags = ", ".join(teacher.tags)
        made.row(teacher.id, teacher.name, teacher.status, teacher.source.kind, teacher.modality, classes, tags)
    made.show(session)


def show_teacher(session: Session, teacher: Teacher) -> None:
    pairs = [("id", teacher.id), ("name", teacher.name), ("status", teacher.status.value), ("reason", teacher.reason)]
    _teacher_facts(session, [*pairs, *_of_model(teacher), *_of_record(teacher)], teacher)


def show_checked_teacher(session: Session, teacher: Teacher) -> None:
    """What a check found: nothing of a record, because there is none."""
    source = teacher.source.model_dump(mode="json", exclude={"kind", "preprocessing"}, exclude_none=True)
    preprocessing = getattr(teacher.source, "preprocessing", None)
    how = None if preprocessing is None else preprocessing.model_dump(mode="json", exclude={"modality"})
    pairs = [("name", teacher.name), *_of_model(teacher)]
    _teacher_facts(session, [*pairs, ("source options", _options(source)), ("preprocessing", _options(how))], teacher)


def _options(values: dict[str, Any] | None) -> str | None:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in values.items()) if values else None


def _of_model(teacher: Teacher) -> list[tuple[str, object]]:
    return [
        ("source", teacher.source.kind),
        ("modality", teacher.modality),
        ("classes", len(teacher.labels) if teacher.labels else None),
        ("labels", some(teacher.labels)),
        ("description", teacher.description),
        ("tags", ", ".join(teacher.tags)),
        ("accuracy", None if teacher.accuracy is None else f"{teacher.accuracy:.4f} (as claimed)"),
        ("parameters", None if teacher.parameters is None else f"{teacher.parameters:,}"),
        ("files", some([f"{file.name} ({size(file.size)})" for file in teacher.files])),
        ("fingerprint", getattr(teacher, "fingerprint", None)),
    ]


def _of_record(teacher: Teacher) -> list[tuple[str, object]]:
    return [
        ("promoted from", teacher.promoted_from),
        ("validation", teacher.validation),
        ("created", moment(teacher.created_at)),
        ("updated", moment(teacher.updated_at)),
    ]


def _teacher_facts(session: Session, pairs: list[tuple[str, object]], teacher: Teacher) -> None:
    facts(session, pairs)
    remarks(session, "Warning", getattr(teacher, "warnings", None) or ())


def show_probes(session: Session, probes: list[Probe]) -> None:
    if not probes:
        session.note("There are no probes. Upload one with `preceptor probes add FILE`")
        return
    made = Listing(
        "id",
        "modality",
        ("items", "right"),
        "labelled",
        ("classes", "right"),
        "format",
        ("size", "right"),
        give_way=("format", "size"),
    )
    for probe in probes:
        classes = len(probe.labels) if probe.labels else None
        labelled = "yes" if probe.labelled else "no"
        made.row(probe.id, probe.modality, probe.items, labelled, classes, probe.format, size(probe.size))
    made.show(session)


def show_probe(session: Session, probe: Probe) -> None:
    counts = None
    if probe.labels and probe.counts:
        counts = some([f"{label} ({count})" for label, count in zip(probe.labels, probe.counts, strict=False)])
    checked = isinstance(probe, ProbeCheck)
    facts(
        session,
        [
            ("id", f"{probe.id} (the same content is stored)" if checked and probe.stored else probe.id),
            ("modality", probe.modality),
            ("items", probe.items),
            ("labelled", "yes" if probe.labelled else "no"),
            ("classes", len(probe.counts) if probe.counts else None),
            ("labels", counts or some(probe.labels)),
            ("items a class", _counts(probe) if not probe.labels else None),
            ("dimension", probe.dimension),
            ("format", probe.format),
            ("columns", _columns(getattr(probe, "columns", None))),
            ("encoding", getattr(probe, "encoding", None)),
            ("size", size(probe.size)),
            ("created", None if checked else moment(probe.created_at)),
        ],
    )
    if checked and probe.examples:
        made = Listing(("item", "right"), "label", "content", room=80)
        for example in probe.examples:
            made.row(example.position, example.label, example.item)
        made.show(session)
    remarks(session, "Warning", getattr(probe, "warnings", None) or ())


def _counts(probe: Probe) -> str | None:
    """Of classes without names."""
    return some([f"{number} ({count})" for number, count in enumerate(probe.counts)]) if probe.counts else None


def _columns(columns: Any) -> str | None:
    """The columns that were taken and passed over, whatever form the service gives them in."""
    if isinstance(columns, BaseModel):
        columns = columns.model_dump(mode="json")
    if isinstance(columns, dict):
        return "; ".join(f"{name}: {_columns(value) or 'none'}" for name, value in columns.items())
    if isinstance(columns, list):
        return some([str(column) for column in columns])
    return None if columns is None else str(columns)


def show_label_sets(session: Session, label_sets: list[LabelSet]) -> None:
    if not label_sets:
        session.note("There are no label sets. Add one with `preceptor labels add cat,dog`")
        return
    made = Listing("id", ("classes", "right"), "labels")
    for entry in label_sets:
        made.row(entry.id, len(entry.labels), some(entry.labels, 6))
    made.show(session)


def show_jobs(session: Session, jobs: list[JobSummary]) -> None:
    if not jobs:
        session.note("There are no such jobs")
        return
    made = Listing(
        "id", "kind", "status", ("progress", "right"), "created", "note", give_way=("kind", "created"), sparse=True
    )
    for job in jobs:
        fraction = f"{job.progress.fraction:.0%}" if job.progress and not job.status.terminal else None
        note = job.error.detail if job.error else job.progress.message if fraction and job.progress else None
        if job.kind == "validation" and job.status is JobStatus.SUCCEEDED:
            note = "it ran to its end; `preceptor jobs show` has the verdict"
        made.row(job.id, job.kind, job.status, fraction, moment(job.created_at), note)
    made.show(session)


def _status(job: JobSummary) -> str:
    if job.kind == "validation" and job.status is JobStatus.SUCCEEDED:
        return "succeeded (the validation ran to its end; the verdict is its result)"
    return job.status.value


def show_job(session: Session, job: JobSummary) -> None:
    taken = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None
    facts(
        session,
        [
            ("id", job.id),
            ("kind", job.kind),
            ("status", _status(job)),
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
    made = Listing(
        "id",
        "name",
        ("classes", "right"),
        ("accuracy", "right"),
        ("gain", "right"),
        "verdict",
        "promoted to",
        give_way=("classes", "promoted to"),
    )
    for student in students:
        accuracy = None if student.accuracy is None else f"{student.accuracy:.4f}"
        gain = None if student.gain is None else f"{100 * student.gain.mean:+.2f}"
        classes = len(student.labels)
        made.row(student.id, student.name, classes, accuracy, gain, student.verdict, student.promoted_to)
    made.show(session)


def gain_line(gain: Gain | None) -> str | None:
    """A gain in points with its interval."""
    if gain is None:
        return None
    return f"{100 * gain.mean:+.2f} points (90 % interval {100 * gain.low:+.2f} to {100 * gain.high:+.2f})"


def show_student(session: Session, student: Student) -> None:
    facts(
        session,
        [
            ("id", student.id),
            ("name", student.name),
            ("distillation", student.distillation),
            ("labels", some(student.labels)),
            ("accuracy", None if student.accuracy is None else f"{student.accuracy:.4f}"),
            ("gain", gain_line(student.gain)),
            ("verdict", student.verdict),
            ("promoted to", student.promoted_to),
            ("created", moment(student.created_at)),
        ],
    )
    made = Listing("artifact", ("size", "right"), "sha256")
    for file in student.artifacts:
        made.row(file.name, size(file.size), file.sha256)
    made.show(session)
