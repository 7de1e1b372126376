"""Reads what a safetensors file says of itself, before anything is allocated for it."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from .rejection import TeacherUnusable

_LARGEST_HEADER: Final = 100 * 2**20
_BITS: Final = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"), 8),
}
_AGAIN: Final = "upload it again, or save it again with safetensors.torch.save_file"


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The tensors in a safetensors file and their shapes.

    Raises
    ------
    TeacherUnusable
        The file is not safetensors, is cut off, or its header contradicts its size.
    """
    header, room = _read_header(path)
    shapes: dict[str, tuple[int, ...]] = {}
    needed = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            shape = tuple(int(n) for n in entry["shape"])
            begin, end = (int(n) for n in entry["data_offsets"])
            bits = _BITS[entry["dtype"]]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise TeacherUnusable(f"{path.name} describes the tensor {name[:80]!r} wrongly; {_AGAIN}") from None
        if any(n < 0 for n in shape) or not 0 <= begin <= end or math.prod(shape) * bits != (end - begin) * 8:
            raise TeacherUnusable(f"{path.name} describes the tensor {name[:80]!r} wrongly; {_AGAIN}")
        needed = max(needed, end)
        shapes[name] = shape
    if needed > room:
        raise TeacherUnusable(f"{path.name} is cut off: it should hold {needed - room:,} more bytes; upload it again")
    if not shapes:
        raise TeacherUnusable(f"{path.name} holds no tensors; {_AGAIN}")
    return shapes


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > _LARGEST_HEADER or length > size - 8:
            raise TeacherUnusable(f"{path.name} is not a safetensors file, or it is cut off; {_AGAIN}")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise TeacherUnusable(f"{path.name} is not a safetensors file; {_AGAIN}") from None
    if not isinstance(header, dict):
        raise TeacherUnusable(f"{path.name} is not a safetensors file; {_AGAIN}")
    return header, size - 8 - length


def stored_shapes(paths: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """The tensors of several safetensors files together."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        shapes |= read_shapes(path)
    return shapes


def numbers(shapes: dict[str, tuple[int, ...]]) -> int:
    """How many numbers all tensors hold together."""
    return sum(math.prod(shape) for shape in shapes.values())
