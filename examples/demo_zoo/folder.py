"""The layout of the zoo on disk: one folder a teacher, described by its `teacher.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, the same at every run."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class TeacherFolder:
    """``OUT/teachers/SLUG``: the model's files and the data for its registration."""

    def __init__(self, out: Path, slug: str) -> None:
        self.slug = slug
        self.path = out / "teachers" / slug
        self.path.mkdir(parents=True, exist_ok=True)

    def describe(
        self,
        *,
        name: str,
        description: str,
        source: Mapping[str, Any],
        modality: str,
        labels: list[str],
        licence: str,
        origin: str,
        accuracy: float | None = None,
    ) -> None:
        """Write `teacher.json`.

        Parameters
        ----------
        name, description
            As shown to people.
        source
            As `preceptor.contract.teachers.Source`: kind, preprocessing, output.
        modality
            "image" or "text".
        labels
            Class names in the order of the outputs.
        licence, origin
            Of weights and data.
        accuracy
            On held-out items of the teacher's own task, 0 to 1; None if it was not measured here.
        """
        written = {
            "name": name,
            "description": description,
            "source": dict(source),
            "modality": modality,
            "labels": labels,
            "accuracy": accuracy,
            "licence": licence,
            "origin": origin,
        }
        write_json(self.path / "teacher.json", written)
