"""What a person types for a resource: an id, a file, a name, a list of labels."""

import re
from pathlib import Path
from typing import Annotated

import typer

from ..contract.ids import LABEL_SET, PROBE, TEACHER, is_id
from ..contract.probes import Probe, ProbeFormat
from ..core.files.class_names import LabelFile, fault
from ..errors import NotFoundError, PreceptorError
from .session import Session

LABELS_FILE = "one a line, a JSON array, id2label.json, config.json, or a CSV column."

LabelsFile = Annotated[Path | None, typer.Option("--labels-file", metavar="FILE", help=f"The classes: {LABELS_FILE}")]


def split_labels(text: str) -> list[str]:
    """Labels between commas; a comma at the end is forgiven, a name that is missing in between is not."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and not parts[-1]:
        parts.pop()
    if "" in parts:
        raise typer.BadParameter(
            f"{text!r} has an empty class name at position {parts.index('')}; names stand between commas: cat,dog"
        )
    return _several(parts)


def _several(labels: list[str]) -> list[str]:
    for position, label in enumerate(labels):
        if why := fault(label):
            raise typer.BadParameter(f"class name {position}: {why}")
    if len(labels) < 2:
        given = f"{labels[0]!r} is one class" if labels else "there is no class"
        raise typer.BadParameter(f"{given}; give at least two, or there is nothing to tell apart")
    return labels


def student_labels(session: Session, labels: str | None, file: Path | None) -> list[str] | str | None:
    """Labels from `--labels` or `--labels-file`, or the id of a registered set; None where neither is given."""
    if labels is not None and file is not None:
        raise typer.BadParameter("give the class names either between commas or in a file, not both")
    if file is not None:
        return _several(read_labels(session, file))
    if labels is None:
        return None
    if is_id(LABEL_SET, labels):
        return labels
    if labels.startswith(f"{LABEL_SET}_") and "," not in labels:
        raise typer.BadParameter(f"{labels!r} is not the id of a label set (was it cut?); see `preceptor labels list`")
    return split_labels(labels)


def read_labels(session: Session, file: Path) -> list[str]:
    """The class names of a file; what was assumed is reported on stderr."""
    found = LabelFile.read(file)
    for note in found.notes:
        session.note(f"Note: {note}")
    return found.labels


def probe_id(session: Session, reference: str | None, labels: list[str] | None = None) -> str | None:
    """The id of a probe that is given by id or as a file; a file is uploaded."""
    if reference is None or is_id(PROBE, reference):
        return reference
    return upload_probe(session, Path(reference), labels).id


def probe_file(path: Path) -> Path:
    """A file that can be uploaded as a probe."""
    if path.is_dir():
        raise typer.BadParameter(f"{str(path)!r} is a folder. Give a file, for example a zip of the folder")
    if not path.is_file():
        if re.match(r"[a-z][a-z0-9+.-]+:/", str(path), re.IGNORECASE):  # Path has made one slash of two.
            raise typer.BadParameter(f"{str(path)!r} is a URL. Download it, then give the file")
        raise typer.BadParameter(f"{str(path)!r} is neither a file nor the id of a probe (prb_...)")
    return path


def upload_probe(session: Session, path: Path, labels: list[str] | None, format: ProbeFormat | None = None) -> Probe:
    """Upload a file as a probe."""
    with session.transfers("uploading") as progress:
        return session.client.probes.upload(probe_file(path), labels, format, on_transfer=progress)


def teacher_id(session: Session, reference: str) -> str:
    """The id of a teacher that is given by id or by its exact name."""
    if is_id(TEACHER, reference):
        return reference
    try:
        return session.client.teachers.get(reference).id
    except NotFoundError as error:
        raise PreceptorError(f"{error}; see `preceptor teachers list`") from error
