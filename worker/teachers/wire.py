"""How items go to a child process and outputs come back: a length, a JSON head, plain bytes. No pickle.

The child runs a stranger's model, so what comes back is believed only after its sizes were checked.
"""

import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from preceptor.contract.labels import MAX_LABELS

from .interface import Batch, Items, Outputs

_LARGEST_HEAD: Final = 4 * 2**20  # The class names of a model are the longest that stands in one.
_LARGEST_WIDTH: Final = 2**20
"""Numbers in one row of outputs: more is no classifier."""
_CHUNK: Final = 2**20


class Broken(Exception):
    """The other side has gone, or says what makes no sense."""


@dataclass(frozen=True)
class Line:
    """One end of a connection to another process.

    Parameters
    ----------
    socket
        A stream socket; its timeout is set here.
    """

    socket: socket.socket

    def send(
        self, head: dict[str, Any], parts: Sequence[bytes | memoryview] = (), *, until: float | None = None
    ) -> None:
        """Send a message.

        Parameters
        ----------
        until
            Moment of `time.monotonic` at which to give up; None to wait for ever.

        Raises
        ------
        TimeoutError, Broken
        """
        encoded = json.dumps(head).encode()
        sizes = b"".join(len(part).to_bytes(8, "little") for part in parts)
        front = len(encoded).to_bytes(4, "little") + len(parts).to_bytes(4, "little") + sizes + encoded
        try:
            for piece in (front, *parts):
                self._wait(until)
                self.socket.sendall(piece)
        except TimeoutError:
            raise
        except OSError as error:
            raise Broken(str(error)) from error

    def receive(self, largest: int, *, until: float | None = None) -> tuple[dict[str, Any], list[bytearray]]:
        """Receive a message.

        Parameters
        ----------
        largest
            Most bytes of all parts together.

        Raises
        ------
        TimeoutError, Broken
        """
        front = self._exactly(8, until)
        size, count = int.from_bytes(front[:4], "little"), int.from_bytes(front[4:], "little")
        if size > _LARGEST_HEAD or count > _CHUNK:
            raise Broken("the head is too long")
        lengths = np.frombuffer(self._exactly(8 * count, until), dtype="<u8").tolist()
        if sum(lengths) > largest:
            raise Broken("the message is too long")
        try:
            head = json.loads(self._exactly(size, until))
        except (ValueError, RecursionError) as error:
            raise Broken("the head is no JSON") from error
        if not isinstance(head, dict):
            raise Broken("the head is no object")
        return head, [self._exactly(length, until) for length in lengths]

    def _exactly(self, size: int, until: float | None) -> bytearray:
        found = bytearray(size)
        view, got = memoryview(found), 0
        while got < size:
            self._wait(until)
            try:
                more = self.socket.recv_into(view[got : got + _CHUNK])
            except TimeoutError:
                raise
            except OSError as error:
                raise Broken(str(error)) from error
            if more == 0:
                raise Broken("the other side has gone")
            got += more
        return found

    def _wait(self, until: float | None) -> None:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)


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
