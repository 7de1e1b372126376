"""Items as a student's inputs: read once if they fit in memory, augmented by modality, gathered by row.

Pictures are kept as 8-bit values at the student's size, so that ten thousand of 48 x 48 pixels take 70 MB; above
a budget they are decoded again for each batch. Augmentation draws from a generator that the trainer seeds from
(seed, step), so a step has the same values in a resumed run.
"""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preceptor.contract.teachers import ImagePreprocessing
from worker.errors import ComputationFailed, InvalidItems
from worker.teachers.preprocessing.images import decode, fit
from worker.teachers.preprocessing.texts import TextEncoder

from .inputs import ItemSource

Inputs = dict[str, Tensor]

PICTURE_BUDGET: Final = 1 << 30
"""Bytes of decoded pictures that are kept; above, pictures are decoded again for each batch."""
_READ: Final = 256


@dataclass(frozen=True)
class Augmentation:
    """Random changes to items before a student trains on them.

    Attributes
    ----------
    generator
        Source of the random numbers.
    mirror
        Whether half of the pictures are mirrored.
    """

    generator: torch.Generator
    mirror: bool = False


class Encoded(Protocol):
    """Items as inputs of a student."""

    def __len__(self) -> int: ...
    def gather(self, rows: Tensor, augment: Augmentation | None = None) -> Inputs:
        """The inputs of some rows, in their order; `augment` is None for measurements."""
        ...


class EncodedVectors:
    """Feature vectors. Augmentation: none, since the effect of a small change depends on the features."""

    def __init__(self, source: ItemSource, dimension: int | None, device: torch.device) -> None:
        parts = [batch.features for batch in source.batches(4096)]
        if any(part is None for part in parts):
            raise ComputationFailed("this student takes feature vectors; use a probe of modality 'features'")
        values = np.concatenate([part for part in parts if part is not None])
        if not np.isfinite(values).all():
            raise ComputationFailed("the feature vectors hold NaN or infinity; clean the data and upload it again")
        if dimension is not None and values.shape[1] != dimension:
            raise ComputationFailed(f"feature vectors of dimension {values.shape[1]} and {dimension} do not match")
        self.values = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, rows: Tensor, augment: Augmentation | None = None) -> Inputs:
        """`features`, shape (B, D), float32."""
        return {"features": self.values[rows.to(self.values.device)]}


class EncodedTexts:
    """Token numbers. Augmentation: one token in ten is masked."""

    DROPPED: Final = 0.1

    def __init__(self, source: ItemSource, encoder: TextEncoder, names: tuple[str, ...], device: torch.device) -> None:
        self._names = names
        self._device = device
        self._pad = padding_of(encoder)
        self._tokens: list[Tensor] = []
        for batch in source.batches(_READ):
            if batch.texts is None:
                raise ComputationFailed("this student takes texts; use a probe of modality 'text'")
            arrays = encoder.encode(batch.texts)
            for ids, mask in zip(arrays["input_ids"], arrays["attention_mask"], strict=True):
                self._tokens.append(torch.from_numpy(ids[mask.astype(bool)]))

    def __len__(self) -> int:
        return len(self._tokens)

    def gather(self, rows: Tensor, augment: Augmentation | None = None) -> Inputs:
        """`input_ids`, `attention_mask` (and `token_type_ids`), shape (B, L), int64, padded at the end."""
        chosen = [self._tokens[row] for row in rows.tolist()]
        longest = max(len(tokens) for tokens in chosen)
        ids = torch.full((len(chosen), longest), self._pad, dtype=torch.int64)
        mask = torch.zeros(len(chosen), longest, dtype=torch.int64)
        for position, tokens in enumerate(chosen):
            ids[position, : len(tokens)] = tokens
            mask[position, : len(tokens)] = 1
        if augment is not None and longest > 1:
            kept = mask * (torch.rand(mask.shape, generator=augment.generator) >= self.DROPPED)
            kept[:, 0] = mask[:, 0]
            mask = kept
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        return {name: inputs[name].to(self._device) for name in self._names}


def padding_of(encoder: TextEncoder) -> int:
    """The number of an encoder's padding token; some models derive positions from it."""
    arrays = encoder.encode(["a", "a b c d e f g h"])
    padded = arrays["input_ids"][arrays["attention_mask"] == 0]
    return int(padded[0]) if len(padded) else 0


class PictureReader(Protocol):
    """Decodes pictures into arrays: `read` once, `finish` for each batch.

    Attributes
    ----------
    shape
        (C, H, W) of a picture.
    dtype
        dtype of the result of `read`.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def read(self, pictures: list[bytes], names: list[int]) -> NDArray[Any]:
        """Shape (B, C, H, W); `names` are their numbers, for error messages."""
        ...

    def finish(self, values: Tensor) -> Tensor:
        """The model's input, float32, from the result of `read`."""
        ...


class ExactReader:
    """Pictures preprocessed by an `ImagePreprocessing`; kept as 8-bit values and normalised for each batch."""

    dtype = np.dtype(np.uint8)

    def __init__(self, how: ImagePreprocessing) -> None:
        self._how = how
        self.shape = (3 if how.channels == "rgb" else 1, *how.size)
        self._mean = torch.tensor(how.mean).view(-1, 1, 1)
        self._std = torch.tensor(how.std).view(-1, 1, 1)

    def read(self, pictures: list[bytes], names: list[int]) -> NDArray[np.uint8]:
        """See `PictureReader.read`."""
        pixels = np.empty((len(pictures), *self.shape), dtype=np.uint8)
        for position, (data, name) in enumerate(zip(pictures, names, strict=True)):
            try:
                image = np.asarray(fit(decode(data, channels=self._how.channels), self._how))
            except InvalidItems as error:
                raise ComputationFailed(f"item {name}: {error.detail}") from None
            pixels[position] = image.reshape(*self._how.size, -1).transpose(2, 0, 1)
        return pixels

    def finish(self, values: Tensor) -> Tensor:
        """See `PictureReader.finish`."""
        return (values.float() - self._mean.to(values.device)) / self._std.to(values.device)


class EncodedPictures:
    """Pictures of one size. Augmentation: shifted by up to an eighth of the size.

    Mirrored only on request: mirroring turns some classes (digits, letters, traffic signs) into others.
    """

    def __init__(self, source: ItemSource, reader: PictureReader, device: torch.device) -> None:
        if source.modality != "image":
            raise ComputationFailed("this student takes pictures; use a probe of modality 'image'")
        self._source, self._reader, self._device = source, reader, device
        size = source.items * int(np.prod(reader.shape)) * reader.dtype.itemsize
        self._kept = torch.from_numpy(self._read(None)) if size <= PICTURE_BUDGET else None

    def __len__(self) -> int:
        return self._source.items

    def _read(self, rows: list[int] | None) -> NDArray[Any]:
        names = list(range(self._source.items)) if rows is None else rows
        pixels = np.empty((len(names), *self._reader.shape), dtype=self._reader.dtype)
        done = 0
        for batch in self._source.batches(_READ, None if rows is None else np.asarray(rows)):
            pictures = batch.images or []
            end = done + len(pictures)
            pixels[done:end] = self._reader.read(pictures, names[done:end])
            done = end
        return pixels

    def gather(self, rows: Tensor, augment: Augmentation | None = None) -> Inputs:
        """`pixel_values`, shape (B, C, H, W), float32, normalised."""
        raw = torch.from_numpy(self._read(rows.tolist())) if self._kept is None else self._kept[rows]
        if augment is not None:
            raw = shifted(raw, augment.generator)
            if augment.mirror:
                turned = torch.rand(len(raw), generator=augment.generator) < 0.5
                raw = torch.where(turned[:, None, None, None], raw.flip(3), raw)
        return {"pixel_values": self._reader.finish(raw.to(self._device))}


def shifted(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture moved by a separate random amount, up to an eighth of its size; the edge is repeated.

    Parameters
    ----------
    pictures
        Shape (B, C, H, W).
    """
    count, _, height, width = pictures.shape
    tall, wide = height // 8, width // 8
    down = torch.randint(-tall, tall + 1, (count, 1), generator=generator)
    right = torch.randint(-wide, wide + 1, (count, 1), generator=generator)
    ys = (torch.arange(height) + down).clamp_(0, height - 1)
    xs = (torch.arange(width) + right).clamp_(0, width - 1)
    item = torch.arange(count)[:, None, None]
    # Advanced indices around a slice put the channels last.
    return pictures[item, :, ys[:, :, None], xs[:, None, :]].permute(0, 3, 1, 2)
