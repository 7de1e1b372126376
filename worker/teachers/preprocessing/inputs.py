"""A batch as the named arrays a model wants, as its registration says: for ONNX and torch.export."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.teachers import (
    FeaturesPreprocessing,
    ImagePreprocessing,
    Preprocessing,
    TextPreprocessing,
)

from ..errors import TeacherUnusable
from ..interface import Batch, Float32


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


Arrays = Mapping[str, NDArray[np.float32] | NDArray[np.int64]]

PICTURES = "pixel_values"
VECTORS = "features"


class Preparation:
    """Applies a registration's preprocessing.

    Parameters
    ----------
    how
        The preprocessing of the teacher's source.
    folder
        Where the tokenizer lies, for texts.
    """

    def __init__(self, how: Preprocessing, folder: Path) -> None:
        self.how = how
        if isinstance(how, ImagePreprocessing):
            depth = 1 if how.channels == "gray" else 3
            for name, values in (("mean", how.mean), ("std", how.std)):
                if len(values) not in (1, depth):
                    raise TeacherUnusable(
                        f"preprocessing.{name} has {len(values)} values for {depth} colour channels; give 1 or {depth}"
                    )
        elif isinstance(how, TextPreprocessing):
            from .texts import TextEncoder

            self._encoder = TextEncoder(folder / how.tokenizer, max_length=how.max_length, check=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays that `arrays` makes, in order."""
        if isinstance(self.how, ImagePreprocessing):
            return (PICTURES,)
        if isinstance(self.how, TextPreprocessing):
            return tuple(self.how.inputs)
        return (VECTORS,)

    @property
    def item_shape(self) -> tuple[int | None, ...]:
        """Shape of one item of each array, without the batch; None stands for the length of a text."""
        if isinstance(self.how, ImagePreprocessing):
            depth = 1 if self.how.channels == "gray" else 3
            return (depth, *self.how.size) if self.how.layout == "NCHW" else (*self.how.size, depth)
        if isinstance(self.how, TextPreprocessing):
            return (None,)
        return (self.how.dimension,)

    def arrays(self, batch: Batch) -> Arrays:
        """The model's inputs for a batch: float32 (pictures, vectors) or int64 (texts), batch first."""
        how = self.how
        if isinstance(how, ImagePreprocessing):
            from .images import prepare_pictures

            if batch.images is None:
                raise TeacherUnusable("the teacher takes pictures; use a probe of modality 'image'")
            return {PICTURES: prepare_pictures(batch.images, how, start=batch.start)}
        if isinstance(how, TextPreprocessing):
            if batch.texts is None:
                raise TeacherUnusable("the teacher takes texts; use a probe of modality 'text'")
            encoded = self._encoder.encode(batch.texts)
            return {name: encoded[name] for name in how.inputs}
        return {VECTORS: self._vectors(batch, how)}

    def _vectors(self, batch: Batch, how: FeaturesPreprocessing) -> Float32:
        pass

        if batch.features is None:
            raise TeacherUnusable("the teacher takes feature vectors; use a probe of modality 'features'")
        return prepare_vectors(batch.features, how)
