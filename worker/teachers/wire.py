"""How items go to a child process and outputs come back, as messages of `service.sandbox.channel`.

The child runs a stranger's model, so what comes back is believed only after its sizes were checked.
"""

from typing import Any, Final

import numpy as np

from preceptor.contract.labels import MAX_LABELS
from service.sandbox.channel import Broken

from .interface import Batch, Items, Outputs

_LARGEST_WIDTH: Final = 2**20
"""Numbers in one row of outputs: more is no classifier."""


def of_batch(batch: Batch) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    """A batch as head and parts; `to_batch` is the inverse."""
    head: dict[str, Any] = {"start": batch.start}
    if batch.images is not None:
        return {**head, "kind": "images"}, list(batch.images)
    if batch.texts is not None:
        return {**head, "kind": "texts"}, [text.encode(errors="surrogatepass") for text in batch.texts]
    assert batch.features is not None
    values = np.ascontiguousarray(batch.features, dtype="<f4")
    return {**head, "kind": "features", "shape": list(values.shape)}, [memoryview(values.tobytes())]


def to_batch(head: dict[str, Any], parts: list[bytearray]) -> Items:
    """The inverse of `of_batch`."""
    if head["kind"] == "images":
        return Items(images=[bytes(part) for part in parts], start=head["start"])
    if head["kind"] == "texts":
        return Items(texts=[part.decode(errors="surrogatepass") for part in parts], start=head["start"])
    return Items(features=np.frombuffer(parts[0], dtype="<f4").reshape(head["shape"]).copy(), start=head["start"])


def of_outputs(outputs: Outputs) -> tuple[dict[str, Any], list[bytes]]:
    """Outputs as head and parts; `to_outputs` is the inverse."""
    arrays = [np.ascontiguousarray(outputs.logits, dtype="<f4")]
    if outputs.features is not None:
        arrays.append(np.ascontiguousarray(outputs.features, dtype="<f4"))
    return {"shapes": [list(values.shape) for values in arrays]}, [values.tobytes() for values in arrays]


def to_outputs(head: dict[str, Any], parts: list[bytearray]) -> Outputs:
    """The inverse of `of_outputs`.

    Raises
    ------
    Broken
        Shapes and bytes do not fit each other.
    """
    shapes = head.get("shapes")
    if not isinstance(shapes, list) or len(shapes) != len(parts) or len(parts) not in (1, 2):
        raise Broken("it does not say what it sends")
    arrays: list[np.ndarray] = []
    for shape, data in zip(shapes, parts, strict=True):
        fits = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and n >= 0 for n in shape)
        if not fits or 4 * shape[0] * shape[1] != len(data):
            raise Broken("sizes and bytes differ")
        arrays.append(np.frombuffer(data, dtype="<f4").reshape(shape).astype(np.float32))
    return Outputs(arrays[0], arrays[1] if len(arrays) > 1 else None)


def largest_outputs(items: int) -> int:
    """Most bytes that outputs for so many items can have."""
    return 4 * items * (MAX_LABELS + _LARGEST_WIDTH)
