"""A small sample of each modality, on which a teacher must run before it is accepted."""

import io
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preceptor.contract.teachers import FeaturesPreprocessing, Teacher

from .interface import Items

_TEXTS = (
    "",
    "Where is my order?",
    "Die Überweisung ist noch nicht angekommen, obwohl sie seit fünf Tagen unterwegs ist.",
    "銀行カードをなくしました。",
    "أريد إلغاء الاشتراك 🙂",
    "a" * 4000,
)


def _encoded(pixels: NDArray[np.uint8], size: tuple[int, int] | None) -> bytes:
    image = Image.fromarray(pixels)
    if size is not None:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@cache
def _pictures(size: tuple[int, int] | None) -> tuple[bytes, ...]:
    grey = np.full((48, 64, 3), 128, dtype=np.uint8)
    rows, columns = np.mgrid[0:80, 0:60]
    gradient = np.stack([rows * 3, columns * 4, (rows + columns) % 256], axis=2).astype(np.uint8)
    return tuple(_encoded(pixels, size) for pixels in (grey, gradient))


@cache
def _varied_pictures(size: tuple[int, int] | None) -> tuple[bytes, ...]:
    draw = np.random.default_rng(7)
    rows, columns = np.mgrid[0:64, 0:64]
    disc = (rows - 32) ** 2 + (columns - 32) ** 2 < 400
    found: list[NDArray[np.uint8]] = []
    for number in range(12):
        ground, shape = draw.integers(0, 256, (2, 3))
        if number < 2:  # Black and white: the ends of the range.
            ground, shape = np.full(3, 255 * number), np.full(3, 255 * (1 - number))
        noise = draw.normal(0, (2, 25, 60)[number % 3], (64, 64, 3))
        if number % 4 == 0:
            mask = disc
        elif number % 4 == 1:
            mask = (rows // (4 + number) + columns // 8) % 2 == 0
        elif number % 4 == 2:
            mask = rows > columns
        else:
            mask = rows % (3 + number) < 3
        pixels = np.where(mask[..., None], shape, ground) + noise
        found.append(np.clip(pixels, 0, 255).astype(np.uint8))
    return tuple(_encoded(pixels, size) for pixels in found)


_SENTENCES: Final = (
    "I want my money back.",
    "The parcel arrived two days late and the box was open.",
    "Great service, thank you very much!",
    "How do I change my password?",
    "Stocks fell sharply after the central bank raised rates.",
    "The striker scored twice in the second half.",
    "Researchers found a new species of frog in the rain forest.",
    "The film is too long, badly acted and dull.",
    "Please cancel my subscription at the end of the month.",
    "Mix the flour with two eggs and a pinch of salt.",
    "404 not found",
    "ok",
)


def varied_sample(teacher: Teacher, picture_size: tuple[int, int] | None = None) -> Items:
    """A dozen items that differ much from one another, to see what reaches a model and what it makes of it.

    Parameters
    ----------
    picture_size
        Height and width of the pictures; None: 64 x 64.
    """
    if teacher.modality == "image":
        return Items(images=list(_varied_pictures(picture_size)))
    if teacher.modality == "text":
        return Items(texts=list(_SENTENCES))
    how = getattr(teacher.source, "preprocessing", None)
    dimension, mean, std = (
        (how.dimension, how.mean, how.std) if isinstance(how, FeaturesPreprocessing) else (1, 0.0, 1.0)
    )
    draws = np.random.default_rng(7).normal(size=(12, dimension))
    return Items(features=(mean + std * draws).astype(np.float32))


def sample(teacher: Teacher, picture_size: tuple[int, int] | None = None) -> Items:
    """Items that any teacher of this modality must be able to answer.

    Pictures: plain grey and a colour gradient, neither square. Texts: empty, short, long, several scripts.
    Vectors: zero, and a unit vector.

    Parameters
    ----------
    picture_size
        Height and width of the pictures, for models that take one size only.
    """
    if teacher.modality == "image":
        return Items(images=list(_pictures(picture_size)))
    if teacher.modality == "text":
        return Items(texts=list(_TEXTS))
    preprocessing = getattr(teacher.source, "preprocessing", None)
    dimension = preprocessing.dimension if isinstance(preprocessing, FeaturesPreprocessing) else 1
    vectors = np.zeros((2, dimension), dtype=np.float32)
    vectors[1] = 1 / np.sqrt(dimension)
    return Items(features=vectors)
