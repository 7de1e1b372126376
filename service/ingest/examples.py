"""A few items of an ingested probe in words, so that a person sees whether items and labels belong together."""

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from service.core.storage.probe_file import ProbeData

MOST: Final = 5
_TEXT: Final = 160
_VALUES: Final = 4


def examples(path: Path) -> list[dict[str, Any]]:
    """The first item of each of the first five classes, or the first five items of an unlabelled probe.

    Parameters
    ----------
    path
        A canonical file.

    Returns
    -------
    list
        Objects with the fields of `preceptor.contract.probes.ProbeExample`.
    """
    data = ProbeData(path)
    if data.labels is None:
        rows = np.arange(min(MOST, data.items))
    else:
        rows = np.sort(np.unique(data.labels, return_index=True)[1][:MOST])
    labels = [_name(data, int(row)) for row in rows]
    if data.modality == "opaque":
        items = ["an item that was not uploaded"] * len(rows)
    else:
        [batch] = data.batches(MOST, rows)
        if batch.texts is not None:
            items = [_text(text) for text in batch.texts]
        elif batch.images is not None:
            items = [_picture(picture) for picture in batch.images]
        else:
            assert batch.features is not None
            items = [_vector(vector) for vector in batch.features]
    return [
        {"position": int(row), "label": label, "item": item}
        for row, label, item in zip(rows, labels, items, strict=True)
    ]


def _name(data: ProbeData, row: int) -> str | None:
    if data.labels is None:
        return None
    number = int(data.labels[row])
    return str(number) if data.label_names is None else data.label_names[number]


def _text(text: str) -> str:
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"


def _picture(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
        return f"{width} x {height} pixels, {picture.format}, mode {picture.mode}"


def _vector(vector: np.ndarray) -> str:
    some = ", ".join(f"{value:.4g}" for value in vector[:_VALUES])
    return f"[{some}{', …' if len(vector) > _VALUES else ''}], {len(vector)} values"
