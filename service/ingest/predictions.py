"""A black-box teacher's predictions over a probe: checked, and kept as float32 logits."""

import zipfile
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib.format import open_memmap

from service.state.errors import InvalidProbe, UnsupportedType
from service.state.settings import Settings

from .archive import exactly, member, opened
from .npz import Header, read_header

_CHUNK_BYTES: Final = 2**22
_TOLERANCE: Final = 1e-3
_SMALLEST: Final = 1e-12


def ingest_predictions(
    source: Path, *, items: int, classes: int, values: str, target: Path, settings: Settings
) -> None:
    """Write `predictions` (N, K) as a float32 `.npy` of logits; of probabilities, their logarithms.

    Parameters
    ----------
    source
        An `.npz` with an array `predictions`, or a `.npy`.
    items, classes
        N and K that are expected.
    values
        "probabilities" (rows sum to 1 within 1e-3) or "logits".

    Raises
    ------
    InvalidProbe, UnsupportedType, TooLarge
    """
    with source.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic == b"\x93NUMPY":
            _convert(file, items, classes, values, target)
            return
    if not zipfile.is_zipfile(source):
        raise UnsupportedType("predictions come as .npz with an array `predictions`, or as .npy")
    with opened(source, settings, "npz") as archive:
        names = archive.namelist()
        if "predictions.npy" not in names:
            raise InvalidProbe(
                f"the npz has {names[:5]}; wanted is an array `predictions` of shape ({items}, {classes})"
            )
        with member(archive, archive.getinfo("predictions.npy")) as stream:
            _convert(stream, items, classes, values, target)


def _convert(stream: IO[bytes], items: int, classes: int, values: str, target: Path) -> None:
    header: Header = read_header(stream, "predictions")
    if header.shape != (items, classes) or header.dtype.kind not in "fiu":
        raise InvalidProbe(
            f"predictions must be numbers of shape ({items}, {classes}): the probe's items, the teacher's classes; "
            f"found {header.dtype} {header.shape}"
        )
    output = open_memmap(target, mode="w+", dtype=np.float32, shape=(items, classes))
    try:
        step = max(1, _CHUNK_BYTES // header.row_bytes)
        for begin in range(0, items, step):
            rows = min(step, items - begin)
            data = exactly(stream, rows * header.row_bytes, "predictions")
            block = np.frombuffer(data, header.dtype).reshape(rows, classes).astype(np.float64)
            output[begin : begin + rows] = _logits(block, begin, values)
        output.flush()
    finally:
        del output


def _logits(block: Any, begin: int, values: str) -> Any:
    finite = np.isfinite(block).all(axis=1)
    if not finite.all():
        raise InvalidProbe(f"predictions[{begin + int(np.argmin(finite))}] holds a value that is not finite")
    if values == "logits":
        return block
    sums = block.sum(axis=1)
    wrong = (block < 0).any(axis=1) | (np.abs(sums - 1) > _TOLERANCE)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InvalidProbe(
            f"predictions[{begin + row}] is no distribution (smallest {block[row].min():.4g}, sum {sums[row]:.4g}). "
            "Send probabilities whose rows sum to 1, or ?values=logits"
        )
    return np.log(np.maximum(block / sums[:, None], _SMALLEST))
