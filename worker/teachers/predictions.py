"""Reads a black-box teacher's predictions over a probe: numbers only, nothing is unpickled."""

import zipfile
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from .errors import TeacherUnusable
from .interface import Float32

_TOLERANCE: Final = 1e-3
_SAVE: Final = "save them with numpy.save('predictions.npy', array), shape (items, classes), float32"


def read_predictions(
    path: Path, items: int, classes: int, values: Literal["logits", "probabilities"] = "probabilities"
) -> Float32:
    """Predictions of a teacher of kind ``predictions`` over one probe.

    Parameters
    ----------
    path
        A `.npy` file, or an `.npz` with one array or one named ``predictions``, ``probabilities`` or ``logits``.
    items
        N, the number of items of the probe.
    classes
        K, the number of the teacher's labels.
    values
        What the numbers are. Logits go through a softmax.

    Returns
    -------
    ndarray
        Probabilities, shape (N, K), float32, each row summing to 1.

    Raises
    ------
    TeacherUnusable
        Wrong type, shape or values; the message names the first bad row.
    """
    array = _read(path, items, classes)
    numbers = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if bad.size:
        raise TeacherUnusable(
            f"the predictions of item {bad[0]} are not finite (NaN or infinity), as are {bad.size - 1} more rows; "
            f"give a number for every label"
        )
    if values == "logits":
        numbers = np.exp(numbers - numbers.max(axis=1, keepdims=True, initial=-np.inf))
    else:
        _check_rows(numbers)
        numbers = np.maximum(numbers, 0)
    return (numbers / numbers.sum(axis=1, keepdims=True)).astype(np.float32)


def _check_rows(numbers: NDArray[np.float64]) -> None:
    negative = np.flatnonzero((numbers < -1e-6).any(axis=1))
    if negative.size:
        raise TeacherUnusable(
            f"the probabilities of item {negative[0]} are negative; if these are logits, say values 'logits'"
        )
    sums = numbers.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1) > _TOLERANCE)
    if wrong.size:
        raise TeacherUnusable(
            f"the probabilities of item {wrong[0]} sum to {sums[wrong[0]]:.6g}, not 1; divide each row by its sum"
        )


def _read(path: Path, items: int, classes: int) -> NDArray[Any]:
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return _read_array(file, items, classes)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            named = [entry for entry in entries if entry.filename in _ARRAYS] or entries
            if len(named) != 1:
                raise TeacherUnusable(f"the .npz holds {len(entries)} arrays; keep one, named 'predictions'")
            with archive.open(named[0]) as file:
                return _read_array(file, items, classes)
    except TeacherUnusable:
        raise
    except Exception as error:  # a forged header can break zipfile, the header's tokenizer, or the type's parser
        text = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise TeacherUnusable(f"the predictions cannot be read ({text}); {_SAVE}") from None


def _read_array(file: IO[bytes], items: int, classes: int) -> NDArray[Any]:
    """Read the header by itself, so that shape and type are known to be right before anything is allocated."""
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, dtype = read_header(file, max_header_size=2**14)
    if dtype.hasobject:
        raise TeacherUnusable(f"the predictions hold Python objects, which are never loaded; {_SAVE}")
    if dtype.kind not in "fiu":
        raise TeacherUnusable(f"the predictions are of type {dtype}; {_SAVE}")
    if shape != (items, classes):
        raise TeacherUnusable(
            f"the predictions have the shape {shape}; the probe has {items} items and the teacher {classes} "
            f"labels, "
            f"so the shape must be ({items}, {classes})"
        )
    data = file.read(items * classes * dtype.itemsize)
    if len(data) < items * classes * dtype.itemsize:
        raise TeacherUnusable("the predictions are cut off; upload them again")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if by_columns else "C")


_ARRAYS: Final = ("predictions.npy", "probabilities.npy", "logits.npy")
