"""What a loaded teacher is, so that no caller needs to know which source it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.teachers import Modality, OutputKind

Float32 = NDArray[np.float32]


class Batch(Protocol):
    """Consecutive items of a probe; exactly one of `images`, `texts`, `features` is set.

    Attributes
    ----------
    images
        Encoded picture files (PNG, JPEG, ...).
    texts
        Plain texts.
    features
        Feature vectors, shape (B, D), float32.
    labels
        Class numbers, shape (B,), or None. Not read here.
    start
        Position of the first item in the probe.
    """

    @property
    def images(self) -> list[bytes] | None: ...
    @property
    def texts(self) -> list[str] | None: ...
    @property
    def features(self) -> NDArray[np.float32] | None: ...
    @property
    def labels(self) -> NDArray[np.int64] | None: ...
    @property
    def start(self) -> int: ...


@dataclass(frozen=True)
class Items:
    """A batch made by this room itself: a sample, or a part of a larger batch."""

    images: list[bytes] | None = None
    texts: list[str] | None = None
    features: Float32 | None = None
    labels: NDArray[np.int64] | None = None
    start: int = 0


def length(batch: Batch) -> int:
    """Number of items in a batch."""
    for column in (batch.images, batch.texts, batch.features):
        if column is not None:
            return len(column)
    return 0


def part(batch: Batch, begin: int, end: int) -> Items:
    """Items `begin` to `end` (exclusive, counted inside the batch) of a batch."""
    return Items(
        images=None if batch.images is None else batch.images[begin:end],
        texts=None if batch.texts is None else batch.texts[begin:end],
        features=None if batch.features is None else batch.features[begin:end],
        labels=None if batch.labels is None else batch.labels[begin:end],
        start=batch.start + begin,
    )


@dataclass(frozen=True)
class Outputs:
    """What a teacher says of a batch.

    Attributes
    ----------
    logits
        Shape (B, K), float32. For a model that gives probabilities: their natural logarithms.
    features
        The input of the last linear layer, shape (B, D), float32; None where the model does not show it.
    """

    logits: Float32
    features: Float32 | None = None


class LoadedTeacher(Protocol):
    """A teacher in memory. Not safe for use by two threads at once.

    Attributes
    ----------
    labels
        Class names that the source itself carries, in the order of the logits; None where it carries none.
    classes
        K, the number of outputs; None until the first prediction where the file does not state it.
    parameters
        Number of weights, if known.
    class_weights
        Rows of the last linear layer, shape (K, D), float32, in the space of `Outputs.features`; else None.
    """

    @property
    def labels(self) -> list[str] | None: ...
    @property
    def classes(self) -> int | None: ...
    @property
    def parameters(self) -> int | None: ...
    @property
    def modality(self) -> Modality: ...
    @property
    def class_weights(self) -> Float32 | None: ...

    def predict(self, batch: Batch) -> Outputs:
        """Logits and features of every item of the batch, in its order."""
        ...

    def close(self) -> None:
        """Release the model's memory. The teacher cannot be used afterwards."""
        ...


@runtime_checkable
class ShowsInputs(Protocol):
    """A loaded teacher whose prepared inputs can be looked at: any that runs in this process."""

    def prepared(self, batch: Batch) -> Mapping[str, NDArray[Any]]:
        """What reaches the model, by name, batch first."""
        ...


@runtime_checkable
class RawOutputs(Protocol):
    """A loaded teacher that was exported with its head: what its outputs are must be found out.

    Attributes
    ----------
    kind
        What its outputs are taken for; may be set.
    output_name
        The file's name of the output.
    activation
        The softmax or sigmoid that the graph ends in, or None.
    """

    kind: OutputKind

    @property
    def output_name(self) -> str: ...
    @property
    def activation(self) -> "Named | None": ...

    def raw(self, batch: Batch) -> Float32:
        """The outputs as the model returns them, shape (B, K), float32."""
        ...


class Named(Protocol):
    """Something with a name."""

    @property
    def name(self) -> str: ...
