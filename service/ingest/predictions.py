"""A black-box teacher's predictions over a probe: checked, and kept as float32 logits."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from service.core.errors import InvalidProbe, PreceptorError, TooLarge, UnsupportedType
from service.core.settings import Settings
from service.core.storage.object_store import translated

from .items import shown
from .readers.npy_header import Header, read_header
from .readers.zip_archive import exactly, member, opened

_CHUNK_BYTES: Final = 2**22
_BYTES: Final = 4  # of a float32
_TOLERANCE: Final = 1e-3
_SMALLEST: Final = 1e-12
_NPY: Final = b"\x93NUMPY"


def ingest_predictions(
    source: Path,
    *,
    items: int,
    classes: int,
    values: str,
    target: Path,
    settings: Settings,
) -> None:
    """Write `predictions` (N, K) as a float32 `.npy` of logits; of probabilities, their logarithms.

    A probability below 1e-12 counts as 1e-12, so that every logarithm is finite. Rows are normalised first.

    Parameters
    ----------
    source
        An `.npz` with an array `predictions`, or a `.npy`.
    items, classes
        N and K that are expected.
    values
        "probabilities" (rows sum to 1 within 1e-3) or "logits" (any finite numbers).
    target
        The file to write, shape (N, K), C order; it is removed where an error is raised.

    Raises
    ------
    InvalidProbe, UnsupportedType, TooLarge
        The text says what is wrong, in which row, and what to do.
    StoreFull, StoreUnavailable
        `target` cannot be written.
    """
    if classes < 1:
        raise InvalidProbe("the teacher has no labels, so predictions have no columns; register it with its labels")
    if items * classes * _BYTES > settings.max_probe_expanded_bytes:
        raise TooLarge(
            f"predictions for {items:,} items and {classes:,} classes take {items * classes * _BYTES:,} bytes; at most "
            f"{settings.max_probe_expanded_bytes:,} are taken. Use a smaller probe"
        )
    try:
        with source.open("rb") as file:
            if file.read(len(_NPY)) == _NPY:
                file.seek(0)
                _convert(file, source.stat().st_size, items, classes, values, target)
                return
        if not zipfile.is_zipfile(source):
            raise UnsupportedType(
                "predictions come as .npz with an array `predictions`, or as .npy; pickles are never loaded"
            )
        with opened(source, settings, "npz") as archive:
            names = archive.namelist()
            if "predictions.npy" not in names:
                raise InvalidProbe(
                    f"the npz has [{', '.join(map(shown, names[:5]))}]; wanted is an array `predictions` of shape "
                    f"({items}, {classes})"
                )
            info = archive.getinfo("predictions.npy")
            with member(archive, info) as stream:
                _convert(stream, info.file_size, items, classes, values, target)
    except PreceptorError:
        target.unlink(missing_ok=True)
        raise


def _convert(stream: IO[bytes], size: int, items: int, classes: int, values: str, target: Path) -> None:
    header = read_header(stream, "predictions", size)
    if header.shape != (items, classes) or header.dtype.kind not in "fiu":
        raise InvalidProbe(
            f"predictions must be real numbers of shape ({items}, {classes}), the probe's items and the teacher's "
            f"classes; found {header.dtype} {header.shape}"
        )
    try:
        with target.open("wb") as output:
            npy.write_array_header_1_0(output, {"descr": "<f4", "fortran_order": False, "shape": (items, classes)})
            for block in _blocks(stream, header, values):
                output.write(block.tobytes())
    except OSError as error:
        raise translated(error) from error


def _blocks(stream: IO[bytes], header: Header, values: str) -> Iterator[NDArray[Any]]:
    items, classes = header.shape
    step = max(1, _CHUNK_BYTES // header.row_bytes)
    for begin in range(0, items, step):
        rows = min(step, items - begin)
        data = exactly(stream, rows * header.row_bytes, "predictions")
        block = np.frombuffer(data, header.dtype).reshape(rows, classes)
        yield _logits(block.astype(np.float64), begin, values)


def _logits(block: NDArray[np.float64], begin: int, values: str) -> NDArray[Any]:
    if values == "probabilities":
        finite = np.isfinite(block)
        _refuse_infinite(block, finite, begin)
        sums = block.sum(axis=1)
        wrong = (block < 0).any(axis=1) | (np.abs(sums - 1) > _TOLERANCE)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InvalidProbe(
                f"predictions[{begin + row}] is no distribution: its smallest value is {block[row].min():.4g} and its "
                f"sum {sums[row]:.4g}. Send probabilities whose rows sum to 1, or say ?values=logits"
            )
        block = np.log(np.maximum(block / sums[:, None], _SMALLEST))
    with np.errstate(over="ignore"):
        single = block.astype("<f4")
    _refuse_infinite(block, np.isfinite(single), begin)
    return single


def _refuse_infinite(block: NDArray[np.float64], finite: NDArray[np.bool_], begin: int) -> None:
    if not finite.all():
        row, column = np.unravel_index(int(np.argmin(finite)), finite.shape)
        raise InvalidProbe(
            f"predictions[{begin + int(row)}, {int(column)}] is {block[row, column]}: every value must be finite as "
            "float32"
        )
