"""A small sample of each modality, on which a teacher must run before it is accepted."""

import io
from functools import cache

import numpy as np
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


@cache
def _pictures() -> tuple[bytes, ...]:
    grey = np.full((48, 64, 3), 128, dtype=np.uint8)
    rows, columns = np.mgrid[0:80, 0:60]
    gradient = np.stack([rows * 3, columns * 4, (rows + columns) % 256], axis=2).astype(np.uint8)
    encoded: list[bytes] = []
    for pixels in (grey, gradient):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    return tuple(encoded)


def sample(teacher: Teacher) -> Items:
    """Items that any teacher of this modality must be able to answer.

    Pictures: plain grey and a colour gradient, neither square. Texts: empty, short, long, several scripts.
    Vectors: zero, and a unit vector.
    """
    if teacher.modality == "image":
        return Items(images=list(_pictures()))
    if teacher.modality == "text":
        return Items(texts=list(_TEXTS))
    preprocessing = getattr(teacher.source, "preprocessing", None)
    dimension = preprocessing.dimension if isinstance(preprocessing, FeaturesPreprocessing) else 1
    vectors = np.zeros((2, dimension), dtype=np.float32)
    vectors[1] = 1 / np.sqrt(dimension)
    return Items(features=vectors)
