"""Pillow's resize, computed for a window of the result only: of a thin picture the whole would not fit in memory.

The arithmetic is Pillow's (``src/libImaging/Resample.c``): coefficients in doubles, normalised, then fixed point with
22 bits; one pass along each axis, with 8 bits between. The window equals the same part of Pillow's result exactly.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Resampling, fromarray

Bytes = NDArray[np.uint8]
_Doubles = NDArray[np.float64]
_BITS: Final = 22
_ROWS: Final = 64
_MOST_STEPS: Final = 2**22


def _triangle(x: _Doubles) -> _Doubles:
    return np.maximum(1 - np.abs(x), 0)


def _box(x: _Doubles) -> _Doubles:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _sinc(x: _Doubles) -> _Doubles:
    angle = np.where(x == 0, 1.0, x * math.pi)
    return np.where(x == 0, 1.0, np.sin(angle) / angle)


def _hamming(x: _Doubles) -> _Doubles:
    x = np.abs(x)
    return np.where(x < 1, _sinc(x) * (0.54 + 0.46 * np.cos(x * math.pi)), 0)


def _cubic(x: _Doubles) -> _Doubles:
    a, x = -0.5, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: _Doubles) -> _Doubles:
    return np.where((x >= -3) & (x < 3), _sinc(x) * _sinc(x / 3), 0)


_FILTERS: Final[dict[int, tuple[Callable[[_Doubles], _Doubles], float]]] = {
    Resampling.BOX: (_box, 0.5),
    Resampling.BILINEAR: (_triangle, 1),
    Resampling.HAMMING: (_hamming, 1),
    Resampling.BICUBIC: (_cubic, 2),
    Resampling.LANCZOS: (_lanczos, 3),
}
"""Filter and half its width, by Pillow's number."""


def supports(resample: int) -> bool:
    """Whether a window can be computed with this filter."""
    return resample == Resampling.NEAREST or resample in _FILTERS


def resize_window(
    pixels: Bytes, size: tuple[int, int], window: tuple[int, int, int, int], resample: int = Resampling.BILINEAR
) -> Bytes:
    """A part of a resized picture.

    Parameters
    ----------
    pixels
        Shape (H, W, C), uint8.
    size
        Height and width that the whole picture would be resized to.
    window
        Top, left, height and width of the part, inside of `size`.
    resample
        Pillow's number of the filter.

    Returns
    -------
    ndarray
        Shape (height, width, C), uint8: equal to the same part of Pillow's `resize`.
    """
    top, left, height, width = window
    if size[0] * size[1] <= pixels.shape[0] * pixels.shape[1]:
        # No larger than the source; and here the order of Pillow's passes depends on more than the sizes.
        image = fromarray(pixels if pixels.shape[2] > 1 else pixels[..., 0])
        whole = np.asarray(image.resize((size[1], size[0]), resample)).reshape(*size, -1)
        return np.ascontiguousarray(whole[top : top + height, left : left + width])
    if resample == Resampling.NEAREST:
        rows = _nearest(pixels.shape[0], size[0], top, height)
        columns = _nearest(pixels.shape[1], size[1], left, width)
        return pixels[rows[:, None], columns]
    across = _coefficients(pixels.shape[1], size[1], left, width, resample)
    down = _coefficients(pixels.shape[0], size[0], top, height, resample)
    rows = slice(int(down[0].min()), min(int((down[0] + down[1].shape[1]).max()), pixels.shape[0]))
    columns = slice(int(across[0].min()), min(int((across[0] + across[1].shape[1]).max()), pixels.shape[1]))
    across, down = (across[0] - columns.start, across[1]), (down[0] - rows.start, down[1])
    part = pixels[rows, columns]

    def horizontal(values: Bytes) -> Bytes:
        return _passed(values, *across)

    def vertical(values: Bytes) -> Bytes:
        return _passed(values.transpose(1, 0, 2), *down).transpose(1, 0, 2)

    if size[0] < pixels.shape[0] and _orders_passes():
        return np.ascontiguousarray(horizontal(vertical(part)))
    return np.ascontiguousarray(vertical(horizontal(part)))


@cache
def _orders_passes() -> bool:
    """Whether this version of Pillow begins with columns that are shortened; earlier ones begin with the rows."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 1), dtype=np.uint8)
    across = _coefficients(6, 20, 0, 20, Resampling.BILINEAR)
    down = _coefficients(40, 10, 0, 10, Resampling.BILINEAR)
    made = _passed(_passed(pixels, *across).transpose(1, 0, 2), *down).transpose(1, 0, 2)
    return not np.array_equal(made[..., 0], np.asarray(fromarray(pixels[..., 0]).resize((20, 10), Resampling.BILINEAR)))


def _nearest(given: int, wanted: int, begin: int, length: int) -> NDArray[np.int64]:
    step = given / wanted
    if begin + length <= _MOST_STEPS:
        # Pillow adds up the steps; so do we, to round alike.
        steps = np.full(begin + length, step)
        steps[0] = step * 0.5
        places = np.cumsum(steps)[begin:]
    else:
        places = (np.arange(begin, begin + length) + 0.5) * step
    return np.clip(places.astype(np.int64), 0, given - 1)


def _coefficients(
    given: int, wanted: int, begin: int, length: int, resample: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """First source pixel of each pixel of the window, shape (length,), and its weights, shape (length, taps)."""
    if given == wanted:  # Pillow leaves out this pass.
        return np.arange(begin, begin + length), np.full((length, 1), 1 << _BITS, dtype=np.int32)
    function, reach = _FILTERS[resample]
    scale = given / wanted
    stretch = max(scale, 1.0)
    support = reach * stretch
    centres = (np.arange(begin, begin + length) + 0.5) * scale
    starts = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + support + 0.5).astype(np.int64), given)
    taps = np.arange(int((ends - starts).max(initial=1)))
    weights = function((taps + starts[:, None] - centres[:, None] + 0.5) * (1 / stretch))
    weights[taps >= (ends - starts)[:, None]] = 0
    total = np.cumsum(weights, axis=1)[:, -1:]
    weights = np.divide(weights, total, out=weights, where=total != 0) * (1 << _BITS)
    return starts, np.where(weights < 0, weights - 0.5, weights + 0.5).astype(np.int32)


def _passed(lines: Bytes, starts: NDArray[np.int64], weights: NDArray[np.int32]) -> Bytes:
    """As `_pass`, few lines at a time."""
    return np.concatenate([_pass(lines[n : n + _ROWS], starts, weights) for n in range(0, len(lines), _ROWS)])


def _pass(lines: Bytes, starts: NDArray[np.int64], weights: NDArray[np.int32]) -> Bytes:
    """Resize along axis 1: lines of shape (L, N, C) to (L, length, C)."""
    total = np.full((len(lines), len(starts), lines.shape[2]), 1 << (_BITS - 1), dtype=np.int32)
    for tap in range(weights.shape[1]):
        column = weights[:, tap]
        if column.any():
            places = np.minimum(starts + tap, lines.shape[1] - 1)
            total += lines[:, places].astype(np.int32) * column[None, :, None]
    return np.clip(total >> _BITS, 0, 255).astype(np.uint8)
