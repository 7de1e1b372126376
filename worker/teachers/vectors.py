"""Feature vectors as a model's input."""

import numpy as np

from preceptor.contract.teachers import FeaturesPreprocessing

from .errors import TeacherUnusable
from .interface import Float32


def prepare_vectors(features: Float32, how: FeaturesPreprocessing) -> Float32:
    """Standardise feature vectors: ``(x - mean) / std``.

    Parameters
    ----------
    features
        Shape (B, D), float32.
    how
        The teacher's preprocessing; D must be its `dimension`.

    Returns
    -------
    ndarray
        Shape (B, D), float32, contiguous.

    Raises
    ------
    TeacherUnusable
        The vectors are of another dimension.
    """
    if features.ndim != 2 or features.shape[1] != how.dimension:
        raise TeacherUnusable(
            f"the teacher takes feature vectors of dimension {how.dimension}, the probe has "
            f"{features.shape[-1] if features.ndim else 0}; use a probe made with the same feature extractor"
        )
    return np.ascontiguousarray((features - np.float32(how.mean)) / np.float32(how.std), dtype=np.float32)
