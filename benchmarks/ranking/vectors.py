"""Vectors that take minutes to compute, stored after the first computation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.ranking.world import Float32


def kept_vectors(path: Path, compute: Callable[[], Float32]) -> Float32:
    """The array of a file; if the file does not exist, the array is computed and stored."""
    if path.is_file():
        return np.load(path, allow_pickle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = compute()
    unfinished = path.with_suffix(".unfinished.npy")
    np.save(unfinished, found)
    unfinished.replace(path)
    return found
