"""A folder on disk as a teacher: its description, the files that go up, and those that stay behind."""

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..contract.files import missing, refusal
from ..contract.teachers import MAX_NAME_LENGTH, TeacherBody
from ..errors import InvalidRequestError, TeacherFolderError
from .bodies import body

MANIFEST: Final = "teacher.json"
_INFORMATIVE: Final = frozenset({"licence", "license", "origin"})
"""Keys of a manifest that tell a reader where the model comes from; the service does not store them."""
_WITHOUT_FILES: Final = frozenset({"hub", "predictions"})
_PICKLE: Final = re.compile(r"\.(bin|pt|pth|pkl|pickle|ckpt|joblib|dill)$", re.IGNORECASE)
_TASKS: Final = {
    "ForImageClassification": "image",
    "ForSequenceClassification": "text",
}


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
        Names of model files that are not uploaded, and why (a pickle beside safetensors, say).
    """

    path: Path
    body: TeacherBody
    files: tuple[Path, ...]
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def size(self) -> int:
        """Bytes to be uploaded."""
        return sum(file.stat().st_size for file in self.files)

    def warn_of_skipped(self) -> None:
        """One Python warning a file that is not uploaded."""
        for reason in self.skipped.values():
            warnings.warn(f"not uploaded: {reason}", stacklevel=3)

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
        folder = Path(path)
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            raise TeacherFolderError(f"{str(folder)!r} {what}; give the folder that holds the model's files")
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
        values = _described(folder, names)
        values.update({name: value for name, value in overrides.items() if value is not None})
        values.setdefault("name", folder.resolve().name[:MAX_NAME_LENGTH])
        if "modality" not in values:
            raise TeacherFolderError(
                f"{str(folder)!r}: nothing says whether this model reads images, texts or features; give modality"
            )
        try:
            wanted = body(TeacherBody, values)
        except InvalidRequestError as error:
            raise TeacherFolderError(f"{folder / MANIFEST} does not describe a teacher: {error}") from error
        kind = wanted.source.kind
        if kind in _WITHOUT_FILES:
            return cls(path=folder, body=wanted, files=())
        return cls(path=folder, body=wanted, **_sorted_out(folder, kind, names))


_EXAMPLE: Final = {
    "modality": "image",
    "size": [224, 224],
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
}


def _described(folder: Path, names: list[str]) -> dict[str, Any]:
    if MANIFEST in names:
        return _manifest(folder / MANIFEST)
    if "config.json" in names and any(name.endswith(".safetensors") for name in names):
        return _transformers(folder, names)
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


def _manifest(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise TeacherFolderError(f"{file} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise TeacherFolderError(f"{file} must hold a JSON object")
    values = {name: value for name, value in values.items() if name not in _INFORMATIVE}
    if "preprocessing" in values:
        preprocessing, source = values.pop("preprocessing"), values.get("source")
        if not isinstance(source, dict):
            raise TeacherFolderError(f"{file} has no source; it looks like {{'kind': 'onnx', ...}}")
        if preprocessing is not None and source.get("kind") in ("onnx", "torch_export"):
            values["source"] = {"preprocessing": preprocessing, **source}
    return values


def _transformers(folder: Path, names: list[str]) -> dict[str, Any]:
    """What a `transformers` folder says about itself."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architectures = [str(name) for name in config.get("architectures") or []]
    except (ValueError, AttributeError) as error:
        raise TeacherFolderError(f"{folder / 'config.json'} is not a model's configuration: {error}") from error
    for ending, modality in _TASKS.items():
        if any(name.endswith(ending) for name in architectures):
            return {"source": {"kind": "transformers"}, "modality": modality}
    if "preprocessor_config.json" in names:
        return {"source": {"kind": "transformers"}, "modality": "image"}
    if "tokenizer.json" in names or "vocab.txt" in names:
        return {"source": {"kind": "transformers"}, "modality": "text"}
    return {"source": {"kind": "transformers"}}


def _sorted_out(folder: Path, kind: str, names: list[str]) -> dict[str, Any]:
    files = [name for name in names if refusal(kind, name) is None]
    pickles = [name for name in names if name not in files and _PICKLE.search(name)]
    if lacking := missing(kind, set(files)):
        text = f"{str(folder)!r} lacks {', '.join(lacking)}, which a source of kind {kind!r} needs"
        if pickles:
            text += f". It holds {', '.join(pickles)}, but {refusal(kind, pickles[0])}"
        raise TeacherFolderError(text)
    if empty := [name for name in files if (folder / name).stat().st_size == 0]:
        raise TeacherFolderError(f"{folder / empty[0]} is empty; was it written completely?")
    return {
        "files": tuple(folder / name for name in files),
        "skipped": {name: str(refusal(kind, name)) for name in pickles},
    }
