"""What a person types for a resource: an id, a file, a name, a list of labels."""

import json
from pathlib import Path

import typer

from ..contract.ids import LABEL_SET, PROBE, TEACHER, is_id
from ..contract.probes import Probe
from ..errors import PreceptorError
from .session import Session
from .tables import some


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
    if len(labels) < 2:
        given = f"{labels[0]!r} is one class" if labels else "there is no class"
        raise typer.BadParameter(f"{given}; give at least two, or there is nothing to tell apart")
    return labels


def student_labels(labels: str | None, file: Path | None) -> list[str] | str | None:
    """Labels from `--labels` or `--labels-file`, or the id of a registered set; None where neither is given."""
    if labels is not None and file is not None:
        raise typer.BadParameter("give the class names either between commas or in a file, not both")
    if file is not None:
        return _several(_read_labels(file))
    if labels is None:
        return None
    if is_id(LABEL_SET, labels):
        return labels
    if labels.startswith(f"{LABEL_SET}_") and "," not in labels:
        raise typer.BadParameter(f"{labels!r} is not the id of a label set (was it cut?); see `preceptor labels list`")
    return split_labels(labels)


def _read_labels(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        try:
            labels = json.loads(text)
        except ValueError as error:
            raise typer.BadParameter(f"{file} begins like a JSON array but is none: {error}") from error
        if not all(isinstance(label, str) for label in labels):
            raise typer.BadParameter(f"{file} must hold a JSON array of strings")
        return labels
    return [line.strip() for line in text.splitlines() if line.strip()]


def probe_id(session: Session, reference: str | None, labels: list[str] | None = None) -> str | None:
    """The id of a probe that is given by id or as a file; a file is uploaded."""
    if reference is None or is_id(PROBE, reference):
        return reference
    return upload_probe(session, Path(reference), labels).id


def upload_probe(session: Session, path: Path, labels: list[str] | None, format: str | None = None) -> Probe:
    """Upload a file as a probe."""
    if not path.is_file():
        raise typer.BadParameter(f"{str(path)!r} is neither a file nor the id of a probe (prb_...)")
    with session.transfers("uploading") as progress:
        return session.client.probes.upload(path, labels, format, on_transfer=progress)  # pyright: ignore[reportArgumentType]


def teacher_id(session: Session, reference: str) -> str:
    """The id of a teacher that is given by id or by its exact name."""
    if is_id(TEACHER, reference):
        return reference
    found = [entry for entry in session.client.teachers.list(name=reference) if entry.name == reference]
    if len(found) == 1:
        return found[0].id
    if not found:
        raise PreceptorError(f"there is no teacher with the id or name {reference!r}; see `preceptor teachers list`")
    ids = some([entry.id for entry in found], 5)
    raise PreceptorError(f"{len(found)} teachers are called {reference!r}; give one of the ids {ids}")
