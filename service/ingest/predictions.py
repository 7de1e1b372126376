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
_TOLERANCE: Final = 5e-3  # Half precision and few classes stay within it.
_MOST_ROUNDING: Final = 0.5
_NEGATIVE: Final = 1e-6
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
        "probabilities" (rows sum to 1, within what rounding to a few decimals explains) or "logits" (any finite
        numbers). Rows that all lie in 0..1 and sum to 1 are probabilities, whatever is said: no logits do.
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
            begin, logits = 0, values == "logits"
            for block in _blocks(stream, header):
                # Rows of the whole upload are alike: the first ones decide.
                if begin == 0 and logits and _are_probabilities(block):
                    logits = False
                output.write(_logits(block, begin, logits=logits).tobytes())
                begin += len(block)
    except OSError as error:
        raise translated(error) from error


def _blocks(stream: IO[bytes], header: Header) -> Iterator[NDArray[np.float64]]:
    items, classes = header.shape
    step = max(1, _CHUNK_BYTES // header.row_bytes)
    for begin in range(0, items, step):
        rows = min(step, items - begin)
        data = exactly(stream, rows * header.row_bytes, "predictions")
        yield np.frombuffer(data, header.dtype).reshape(rows, classes).astype(np.float64)


def _logits(block: NDArray[np.float64], begin: int, *, logits: bool) -> NDArray[Any]:
    if not logits:
        finite = np.isfinite(block)
        _refuse_infinite(block, finite, begin)
        sums = block.sum(axis=1)
        wrong = (block < -_NEGATIVE).any(axis=1) | (sums <= 0) | ~_sums_to_one(block)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InvalidProbe(
                f"predictions[{begin + row}] is no distribution: its smallest value is {block[row].min():.4g} and its "
                f"sum {sums[row]:.4g}. {_advice(block)}"
            )
        block = np.log(np.maximum(block / sums[:, None], _SMALLEST))
    with np.errstate(over="ignore"):
        single = block.astype("<f4")
    _refuse_infinite(block, np.isfinite(single), begin)
    return single


def _are_probabilities(block: NDArray[np.float64]) -> bool:
    if not block.size or block.shape[1] < 2 or not np.isfinite(block).all() or block.min() < 0 or block.max() > 1:
        return False
    return bool(_sums_to_one(block).all())


def _sums_to_one(block: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows sum to 1, but for rounding: each number of d decimals is off by less than half a unit of the last."""
    excess = block.sum(axis=1) - 1
    more, less = np.full(len(block), _TOLERANCE), np.full(len(block), _TOLERANCE)
    for decimals in (2, 3, 4, 5, 6):
        if np.abs(block - np.round(block, decimals)).max(initial=0) <= 1e-7:
            half = 0.5 * 10.0**-decimals
            # A number that was rounded up is not 0 afterwards.
            more = np.maximum(more, np.minimum((block > 0).sum(axis=1) * half, _MOST_ROUNDING) - 1e-7)
            less = np.maximum(less, min(block.shape[1] * half, _MOST_ROUNDING))
            break
    return (excess <= more) & (excess >= -less)


def _advice(block: NDArray[np.float64]) -> str:
    if block.min() < -_NEGATIVE or block.max() > 1 + _TOLERANCE:
        return "Send probabilities whose rows sum to 1, or logits with ?values=logits"
    # Probabilities that do not sum to 1: a softmax over them would be wrong.
    return (
        "All values lie between 0 and 1, so these are no logits: a label is missing, or labels are scored "
        "independently. Send all labels' probabilities, each row divided by its sum"
    )


def _refuse_infinite(block: NDArray[np.float64], finite: NDArray[np.bool_], begin: int) -> None:
    if not finite.all():
        row, column = np.unravel_index(int(np.argmin(finite)), finite.shape)
        raise InvalidProbe(
            f"predictions[{begin + int(row)}, {int(column)}] is {block[row, column]}: every value must be finite as "
            "float32"
        )
