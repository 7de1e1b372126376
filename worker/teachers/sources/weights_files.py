"""Reads what a safetensors file says of itself, before anything is allocated for it."""

import json
import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Final

from ..errors import TeacherUnusable

_LARGEST_HEADER: Final = 8 * 2**20  # some 60,000 tensors
_MOST_SIDES: Final = 16
_LONGEST_SIDE: Final = 2**48
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
            shape = sides(entry["shape"])
            begin, end = sides(entry["data_offsets"])
            bits = _BITS[entry["dtype"]]
        except (KeyError, TypeError, ValueError):
            raise TeacherUnusable(f"{path.name} describes the tensor {name[:80]!r} wrongly; {_AGAIN}") from None
        if begin > end or math.prod(shape) * bits != (end - begin) * 8:
            raise TeacherUnusable(f"{path.name} describes the tensor {name[:80]!r} wrongly; {_AGAIN}")
        needed = max(needed, end)
        shapes[name] = shape
    if needed > room:
        raise TeacherUnusable(f"{path.name} is cut off: it should hold {needed - room:,} more bytes; upload it again")
    if not shapes:
        raise TeacherUnusable(f"{path.name} holds no tensors; {_AGAIN}")
    return shapes


def sides(values: Iterable[object]) -> tuple[int, ...]:
    """The sides of a tensor as a file tells them: few, and small enough to be multiplied.

    Raises
    ------
    ValueError
        One is no integer from 0 to 2^48, or there are more than 16.
    """
    found: list[int] = []
    for value in values:
        if type(value) is not int or not 0 <= value <= _LONGEST_SIDE or len(found) == _MOST_SIDES:
            raise ValueError("no shape of a tensor")
        found.append(value)
    return tuple(found)


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise TeacherUnusable(f"{path.name} is not a safetensors file, or it is cut off; {_AGAIN}")
        if length > _LARGEST_HEADER:
            raise TeacherUnusable(
                f"the header of {path.name} is larger than {_LARGEST_HEADER // 2**20} MiB; save the weights again "
                f"without metadata, in fewer tensors"
            )
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


def surplus_prefix(stored: Iterable[str], wanted: Collection[str]) -> str:
    """What stands before every name in a file, and before none in the model: ``module.``, ``_orig_mod.``, ``model.``.

    Wrappers of torch add it (DataParallel, torch.compile, Lightning).

    Parameters
    ----------
    stored
        Names of the tensors in the file.
    wanted
        Names that the model has.

    Returns
    -------
    str
        The prefix to strip; empty where the names fit as they are, or would not fit without it either.
    """
    names, known = list(stored), set(wanted)
    if not names or any(name in known for name in names):
        return ""
    steps = names[0].split(".")[:-1]
    for count in range(1, len(steps) + 1):
        prefix = ".".join(steps[:count]) + "."
        if not all(name.startswith(prefix) for name in names):
            return ""
        if sum(name.removeprefix(prefix) in known for name in names) > len(names) // 2:
            return prefix
    return ""
