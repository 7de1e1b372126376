"""A folder on disk as a teacher: its description, the files that go up, and those that stay behind."""

import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from ...contract.files import adapter, missing, refusal
from ...contract.source_kinds import SOURCE_KINDS
from ...contract.teachers import MAX_NAME_LENGTH, TeacherBody
from ...errors import InvalidRequestError, TeacherFolderError, TextFileError
from ..bodies import body, kind_of
from .disk import disk_failures
from .text_files import TextFile

MANIFEST: Final = "teacher.json"
_INFORMATIVE: Final = frozenset({"licence", "license", "origin"})
"""Keys of a manifest that tell a reader where the model comes from; the service does not store them."""
_PICKLE: Final = re.compile(r"\.(bin|pt|pth|pkl|pickle|ckpt|joblib|dill)$", re.IGNORECASE)
_TASKS: Final = {
    "ForImageClassification": "image",
    "ForSequenceClassification": "text",
}
_SIGNS: Final = {"preprocessor_config.json": "image", "tokenizer.json": "text", "vocab.txt": "text"}


@dataclass(frozen=True, kw_only=True)
class TeacherFolder:
    """A folder that is ready to be registered.

    Attributes
    ----------
    body
        What is sent to `POST /v1/teachers`.
    files
        The files that are uploaded.
    skipped
        Names of model files that are not uploaded, and why (a pickle or an adapter beside safetensors, say).
    notes
        What was assumed, because no file states it, and what was passed over.
    """

    path: Path
    body: TeacherBody
    files: tuple[Path, ...]
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes to be uploaded."""
        return sum(file.stat().st_size for file in self.files)

    def warn_of_skipped(self) -> None:
        """One Python warning a file that is not uploaded."""
        for reason in self.skipped.values():
            warnings.warn(f"not uploaded: {reason}", stacklevel=4)

    @classmethod
    def prepared(cls, folder: "str | Path | TeacherFolder", **overrides: Any) -> "TeacherFolder":
        """A folder as `read` reads it, with a Python warning a file that is not uploaded; one that was read as it is.

        Raises
        ------
        TeacherFolderError
        """
        if isinstance(folder, TeacherFolder):
            return folder
        read = cls.read(folder, **overrides)
        read.warn_of_skipped()
        return read

    @classmethod
    def read(cls, path: str | Path, **overrides: Any) -> "TeacherFolder":
        """Read a folder and its `teacher.json`, where there is one.

        Parameters
        ----------
        overrides
            Fields of a TeacherBody that win over the manifest; None means 'as the manifest says'.

        Raises
        ------
        TeacherFolderError
            The folder cannot be a teacher; says why and what to do.
        """
        if not isinstance(path, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TeacherFolderError(f"expected the path of a folder, not {kind_of(path)}")
        folder = Path(path)
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            raise TeacherFolderError(f"{str(folder)!r} {what}; give the folder that holds the model's files")
        with disk_failures():
            return cls._read(folder, {name: value for name, value in overrides.items() if value is not None})

    @classmethod
    def _read(cls, folder: Path, given: dict[str, Any]) -> "TeacherFolder":
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
        notes: list[str] = []
        values = _described(folder, names, notes, given)
        values.update(given)
        if "name" not in values:
            values["name"] = folder.resolve().name[:MAX_NAME_LENGTH]
            notes.append(f"name {values['name']!r}: that of the folder")
        if "modality" not in values:
            raise TeacherFolderError(
                f"{str(folder)!r}: nothing states whether this model reads images, texts or features; give `modality` "
                f"in {MANIFEST}, or --modality"
            )
        try:
            wanted = body(TeacherBody, values)
        except InvalidRequestError as error:
            what = f"{folder / MANIFEST}" if MANIFEST in names else f"{str(folder)!r}"
            with_what = ", with what was given beside it," if given else ""
            raise TeacherFolderError(f"{what}{with_what} does not describe a teacher: {error}") from error
        kind = wanted.source.kind
        if kind in SOURCE_KINDS and not SOURCE_KINDS[kind].takes_files:
            if others := [name for name in names if name != MANIFEST]:
                notes.append(f"not uploaded, because a source of kind {kind!r} takes no files: {_some(others)}")
            return cls(path=folder, body=wanted, files=(), notes=tuple(notes))
        files, skipped = _sorted_out(folder, kind, names)
        taken = {MANIFEST, *skipped, *(file.name for file in files)}
        if others := [name for name in names if name not in taken]:
            notes.append(f"not uploaded, because a source of kind {kind!r} does not use them: {_some(others)}")
        if folders := sorted(entry.name for entry in folder.iterdir() if entry.is_dir()):
            notes.append(f"subfolders are not read: {_some(folders)}")
        return cls(path=folder, body=wanted, files=files, skipped=skipped, notes=tuple(notes))


_EXAMPLE: Final = {
    "modality": "image",
    "size": [224, 224],
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
}


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f", and {len(names) - 8} more" if len(names) > 8 else "")


def _described(folder: Path, names: list[str], notes: list[str], given: Mapping[str, Any]) -> dict[str, Any]:
    if MANIFEST in names:
        return _manifest(folder / MANIFEST, notes)
    if reason := adapter(names):
        raise TeacherFolderError(f"{str(folder)!r} is no whole model: {reason}")
    if "config.json" in names and any(name.endswith(".safetensors") for name in names):
        values, why = _transformers(folder, names)
        notes.append(f"kind of source 'transformers': the folder has config.json, *.safetensors and no {MANIFEST}")
        if why and "modality" not in given:
            notes.append(f"modality {values['modality']!r}: {why}")
        return values
    pickles = [name for name in names if _PICKLE.search(name)]
    if pickles:
        raise TeacherFolderError(f"{str(folder)!r}: {refusal('transformers', pickles[0])}")
    if "model.onnx" in names or "model.pt2" in names:
        kind = "onnx" if "model.onnx" in names else "torch_export"
        example = {
            "name": folder.name,
            "modality": "image",
            "labels": ["cat", "dog"],
            "source": {"kind": kind, "preprocessing": _EXAMPLE},
        }
        raise TeacherFolderError(
            f"{str(folder)!r} has no {MANIFEST}; a model of kind {kind!r} needs one, because it names neither its "
            f"classes nor its preprocessing. For example, with ImageNet's mean and std on pixels of 0..255: "
            f"{json.dumps(example)}"
        )
    raise TeacherFolderError(
        f"{str(folder)!r} holds no model that can be registered: neither {MANIFEST}, nor config.json with "
        "model.safetensors, nor model.onnx"
    )


def _json_object(file: Path, notes: list[str]) -> dict[str, Any]:
    try:
        found = TextFile.read(file)
        values = json.loads(found.text)
    except TextFileError as error:
        raise TeacherFolderError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise TeacherFolderError(f"{file} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise TeacherFolderError(f"{file} must hold a JSON object")
    if found.remark:
        notes.append(found.remark)
    return values


def _manifest(file: Path, notes: list[str]) -> dict[str, Any]:
    values = _json_object(file, notes)
    if unsent := sorted(_INFORMATIVE & set(values)):
        notes.append(f"for readers of {MANIFEST} only, not stored: {', '.join(unsent)}")
    values = {name: value for name, value in values.items() if name not in _INFORMATIVE}
    if "preprocessing" in values:
        preprocessing, source = values.pop("preprocessing"), values.get("source")
        if not isinstance(source, dict):
            raise TeacherFolderError(f"{file} has no source; it looks like {{'kind': 'onnx', ...}}")
        if preprocessing is not None and source.get("kind") in ("onnx", "torch_export"):
            values["source"] = {"preprocessing": preprocessing, **source}
    return values


def _transformers(folder: Path, names: list[str]) -> tuple[dict[str, Any], str | None]:
    """What a `transformers` folder states about itself, and what its modality was read from."""
    architectures = _json_object(folder / "config.json", []).get("architectures") or []
    source: dict[str, Any] = {"source": {"kind": "transformers"}}
    if not isinstance(architectures, list):
        raise TeacherFolderError(f"{folder / 'config.json'}: architectures must be a list of names")
    for ending, modality in _TASKS.items():
        for name in map(str, cast("list[Any]", architectures)):
            if name.endswith(ending):
                return {**source, "modality": modality}, f"the architecture is {name}"
    for name, modality in _SIGNS.items():
        if name in names:
            return {**source, "modality": modality}, f"the folder has {name}"
    return source, None


def _sorted_out(folder: Path, kind: str, names: list[str]) -> tuple[tuple[Path, ...], dict[str, str]]:
    """The files to be uploaded; and the pickles that are not, with reasons."""
    files = [name for name in names if refusal(kind, name) is None]
    pickles = [name for name in names if name not in files and _PICKLE.search(name)]
    if reason := adapter(names):
        raise TeacherFolderError(f"{str(folder)!r} is no whole model: {reason}")
    if lacking := missing(kind, set(files)):
        text = f"{str(folder)!r} lacks {', '.join(lacking)}, which a source of kind {kind!r} needs"
        if pickles:
            text += f". It holds {', '.join(pickles)}, but {refusal(kind, pickles[0])}"
        raise TeacherFolderError(text)
    if empty := [name for name in files if (folder / name).stat().st_size == 0]:
        raise TeacherFolderError(f"{folder / empty[0]} is empty; was it written completely?")
    skipped = {name: str(refusal(kind, name)) for name in names if name in pickles or adapter([name])}
    return tuple(folder / name for name in files), skipped
