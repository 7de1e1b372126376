"""Opens a `torch.export` archive as data: a zip with a JSON program and raw tensors. Nothing is unpickled.

``torch.export.load`` is not used: it unpickles sample inputs and some tensors, evaluates stored strings, and
imports modules that the file names (docs/decisions/torch-export.md). The pickled sample inputs that every
archive carries are never opened here.
"""

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ...errors import TeacherUnusable
from ..weights_files import sides

_LARGEST_JSON: Final = 128 * 2**20
_SCHEMA: Final = 8
_EXPORT: Final = "torch.export.save(torch.export.export(model.eval(), inputs), 'model.pt2')"
DTYPES: Final[dict[int, torch.dtype]] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}


@dataclass(frozen=True)
class ExportArchive:
    """The content of an archive.

    Attributes
    ----------
    program
        The exported program, as parsed JSON (torch's schema 8).
    tensors
        Parameters, buffers and constants by their full names.
    parameters
        Number of trained weights.
    """

    program: dict[str, Any]
    tensors: dict[str, Tensor]
    parameters: int


def read_archive(path: Path) -> ExportArchive:
    """Read a `.pt2` archive.

    Raises
    ------
    TeacherUnusable
        It is not such an archive, is cut off, holds compiled code, or can only be read by unpickling.
    """
    if not zipfile.is_zipfile(path):
        raise TeacherUnusable(f"{path.name} is not a torch.export archive, or it is cut off; save it with {_EXPORT}")
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive, path.name).read()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise TeacherUnusable(f"{path.name} is damaged ({error}); upload it again") from None


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive = archive
        self._name = name
        entries = archive.infolist()
        root = entries[0].filename.split("/")[0] if entries else ""
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            inner = entry.filename.removeprefix(f"{root}/")
            if entry.compress_type != zipfile.ZIP_STORED or inner in self._entries:
                raise TeacherUnusable(f"{name} was not written by torch.export.save; save it with {_EXPORT}")
            self._entries[inner] = entry

    def read(self) -> ExportArchive:
        self._check_format()
        program = self._json("models/model.json")
        version = program.get("schema_version", {})
        if not isinstance(version, dict) or version.get("major") != _SCHEMA:
            raise TeacherUnusable(
                f"{self._name} was written by torch {str(program.get('torch_version'))[:30]}, whose format "
                f"differs; export "
                f"it again with torch {torch.__version__.split('+')[0]}, or to ONNX"
            )
        weights = self._tensors("data/weights", "weights")
        constants = self._tensors("data/constants", "constants")
        trained = sum(tensor.numel() for tensor, is_parameter in weights.values() if is_parameter)
        tensors = {name: tensor for name, (tensor, _) in (weights | constants).items()}
        return ExportArchive(program, tensors, trained)

    def _check_format(self) -> None:
        names = self._entries
        if "archive_format" not in names or self._bytes("archive_format") != b"pt2":
            raise TeacherUnusable(
                f"{self._name} is not a torch.export archive (a checkpoint of torch.save, perhaps, which can "
                f"run code "
                f"when it is loaded); save it with {_EXPORT}"
            )
        if "models/model.json" not in names:
            compiled = any(name.startswith("data/aotinductor/") for name in names)
            what = "holds compiled code" if compiled else "holds no program named 'model'"
            raise TeacherUnusable(f"{self._name} {what}, which is not run here; save it with {_EXPORT}")
        if "byteorder" in names and self._bytes("byteorder") != b"little":
            raise TeacherUnusable(f"{self._name} was written on a big-endian machine; save it on a little-endian one")

    def _bytes(self, name: str) -> bytes:
        entry = self._entries[name]
        data = self._archive.read(entry)
        if len(data) != entry.file_size:
            raise TeacherUnusable(f"{self._name} is cut off; upload it again")
        return data

    def _json(self, name: str) -> dict[str, Any]:
        if name not in self._entries:
            raise TeacherUnusable(f"{self._name} lacks {name}; save it with {_EXPORT}")
        if self._entries[name].file_size > _LARGEST_JSON:
            raise TeacherUnusable(f"{name} in {self._name} is too large; export a smaller model, or to ONNX")
        try:
            value = json.loads(self._bytes(name))
        except (ValueError, RecursionError):
            raise TeacherUnusable(f"{name} in {self._name} is not valid JSON; save it with {_EXPORT}") from None
        if not isinstance(value, dict):
            raise TeacherUnusable(f"{name} in {self._name} is not a JSON object; save it with {_EXPORT}")
        return value

    def _tensors(self, folder: str, kind: str) -> dict[str, tuple[Tensor, bool]]:
        if f"{folder}/model.pt" in self._entries:
            raise TeacherUnusable(
                f"{self._name} keeps its {kind} as a pickle, which is never loaded; export it again with torch "
                f"{torch.__version__.split('+')[0]}: {_EXPORT}"
            )
        table = self._json(f"{folder}/model_{kind}_config.json").get("config", {})
        stored: dict[str, Tensor] = {}
        return {name: self._tensor(folder, name, entry, stored) for name, entry in table.items()}

    def _tensor(self, folder: str, name: str, entry: dict[str, Any], stored: dict[str, Tensor]) -> tuple[Tensor, bool]:
        file = str(entry["path_name"])
        if entry.get("use_pickle") or not file.startswith(("weight_", "tensor_")):
            raise TeacherUnusable(
                f"{self._name} keeps {name[:80]!r} as a pickle, which is never loaded; make it a plain tensor "
                f"before "
                f"the export (no tensor subclasses, no custom or quantised objects), or export the model to ONNX"
            )
        meta = entry["tensor_meta"]
        dtype = DTYPES.get(meta["dtype"])
        if dtype is None:
            raise TeacherUnusable(
                f"{self._name} has {name[:80]!r} in a number format that is not supported; use float32"
            )
        try:
            shape = sides(size["as_int"] for size in meta["sizes"])
            strides = sides(size["as_int"] for size in meta["strides"])
            (offset,) = sides([meta["storage_offset"]["as_int"]])
        except ValueError:
            raise TeacherUnusable(
                f"{self._name} describes the shape of {name[:80]!r} wrongly; export the model again"
            ) from None
        path = f"{folder}/{file}"
        if path not in self._entries:
            raise TeacherUnusable(f"{self._name} lacks {path}; upload it again")
        if path not in stored:
            stored[path] = torch.frombuffer(bytearray(self._bytes(path) or b"\0" * 8), dtype=torch.uint8)
        whole = stored[path]
        last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
        if math.prod(shape) and (last + 1) * dtype.itemsize > whole.numel():
            raise TeacherUnusable(
                f"{self._name} holds too few bytes for {name[:80]!r}; export the model with its real weights"
            )
        numbers = whole[: whole.numel() // dtype.itemsize * dtype.itemsize].view(dtype)
        return torch.as_strided(numbers, shape, strides, offset), bool(entry.get("is_param"))
