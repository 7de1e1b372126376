"""Binding of the passes over a zoo: vocabulary costs and bounds. All arrays contiguous."""

import ctypes

import numpy as np
from numpy.typing import NDArray

from worker.transport._fused.library import level, library, structure

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

# Twice the width of the widest vectors; rows of a table are padded to a multiple of it.
WIDTH = 32

_ProjectArguments = structure("_ProjectArguments", "vocabulary student table", "rows", "dimension width labels")
_BoundArguments = structure(
    "_BoundArguments",
    "table members weights starts counts prior coverage likeness nearest",
    "teachers",
    "width labels",
)
_ReduceArguments = structure(
    "_ReduceArguments", "table g members weights starts counts reduced sums", "rows teachers", "width"
)


def project(vocabulary: Floats, packed: Floats, labels: int) -> Floats:
    """Table (V, width) of the vocabulary (V, d) and the packed student (d, width); see zoo.h for its columns."""
    loops = library()
    assert loops is not None
    rows, dimension = vocabulary.shape
    table = np.empty((rows, packed.shape[1]), dtype=np.float32)
    arguments = _ProjectArguments(
        vocabulary.ctypes.data, packed.ctypes.data, table.ctypes.data, rows, dimension, packed.shape[1], labels
    )
    loops.preceptor_project(ctypes.byref(arguments), level())
    return table


def bound(
    table: Floats,
    members: NDArray[np.int32],
    weights: Floats,
    starts: Longs,
    counts: Longs,
    prior: Doubles,
) -> tuple[Doubles, Doubles, Doubles]:
    """Per teacher: coverage cost, expected similarity, expected nearest cost; each (M,)."""
    loops = library()
    assert loops is not None
    coverage, likeness, nearest = (np.empty(starts.shape[0]) for _ in range(3))
    arguments = _BoundArguments(
        table.ctypes.data,
        members.ctypes.data,
        weights.ctypes.data,
        starts.ctypes.data,
        counts.ctypes.data,
        prior.ctypes.data,
        coverage.ctypes.data,
        likeness.ctypes.data,
        nearest.ctypes.data,
        starts.shape[0],
        table.shape[1],
        prior.shape[0],
    )
    loops.preceptor_bound(ctypes.byref(arguments), level())
    return coverage, likeness, nearest


def reduce(
    table: Floats, g: Floats, members: NDArray[np.int32], weights: Floats, starts: Longs, counts: Longs
) -> Doubles:
    """Per teacher: expectation of min_c (cost - g_c), (M,); g (width,) is padded with very negative numbers."""
    loops = library()
    assert loops is not None
    sums, reduced = np.empty(starts.shape[0]), np.empty(table.shape[0], dtype=np.float32)
    arguments = _ReduceArguments(
        table.ctypes.data,
        g.ctypes.data,
        members.ctypes.data,
        weights.ctypes.data,
        starts.ctypes.data,
        counts.ctypes.data,
        reduced.ctypes.data,
        sums.ctypes.data,
        table.shape[0],
        starts.shape[0],
        table.shape[1],
    )
    loops.preceptor_reduce(ctypes.byref(arguments), level())
    return sums
