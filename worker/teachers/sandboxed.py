"""Teachers that run in a separate process: their graph is an untrusted program.

ONNX graphs and exported programs can decide by the number of items what they do. One that answers the sample of a
validation may ask for all memory, or never end, over a probe. Then this process ends, and the job continues without it.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from preceptor.contract.labels import MAX_LABELS
from preceptor.contract.teachers import Modality, Teacher
from service.sandbox.channel import Channel, ChannelBroken
from service.sandbox.fork_server import ForkServer
from service.sandbox.limits import limit, limit_time
from worker.errors import ComputationFailed, InvalidItems

from . import child_limits
from .errors import TeacherUnusable, reason_of
from .interface import Batch, Float32, Items, Outputs, length
from .loading import SOURCES, load_teacher

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
    ChannelBroken
        Shapes and bytes do not fit each other.
    """
    shapes = head.get("shapes")
    if not isinstance(shapes, list) or len(shapes) != len(parts) or len(parts) not in (1, 2):
        raise ChannelBroken("it does not say what it sends")
    arrays: list[np.ndarray] = []
    for shape, data in zip(shapes, parts, strict=True):
        fits = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and n >= 0 for n in shape)
        if not fits or 4 * shape[0] * shape[1] != len(data):
            raise ChannelBroken("sizes and bytes differ")
        arrays.append(np.frombuffer(data, dtype="<f4").reshape(shape).astype(np.float32))
    return Outputs(arrays[0], arrays[1] if len(arrays) > 1 else None)


def largest_outputs(items: int) -> int:
    """Most bytes that outputs for so many items can have."""
    return 4 * items * (MAX_LABELS + _LARGEST_WIDTH)


LOAD_SECONDS: Final = 120.0
"""As long as a validation may take in all."""
BATCH_SECONDS: Final = 300.0
"""One forward pass of some dozens of items, on a slow and busy machine."""
_MODULE: Final = "worker.teachers.sandboxed"
_LARGEST_BATCH: Final = 2**31
_GRACE: Final = 2.0
_LONGEST: Final = 1000


class SandboxedTeacher:
    """A loaded teacher in a child process. See `LoadedTeacher`.

    Parameters
    ----------
    processes
        Starts the child.
    teacher, folder, device, threads
        As for `load_teacher`.
    memory_bytes
        Cap on the child's address space; None: as `child.memory_for` says. There is none on a GPU, whose driver maps
        all of its memory.
    batch_seconds
        The child is ended where one batch takes longer.

    Raises
    ------
    TeacherUnusable
        It cannot be loaded.
    """

    class_weights: Float32 | None = None

    def __init__(
        self,
        processes: ForkServer,
        teacher: Teacher,
        folder: Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        memory_bytes: int | None = None,
        batch_seconds: float = BATCH_SECONDS,
    ) -> None:
        self.modality: Modality = teacher.modality
        self._batch_seconds = batch_seconds
        try:
            self._process = processes.start(_MODULE, folder, imports=[SOURCES[teacher.source.kind]])
        except ChannelBroken as error:
            raise TeacherUnusable(f"{error} for the model; try later") from error
        try:
            head = self._ask(
                {
                    "teacher": teacher.model_dump(mode="json"),
                    "folder": str(folder.absolute()),
                    "device": device,
                    "threads": threads,
                    "memory": memory_bytes or child_limits.memory_for(folder),
                    "seconds": int(batch_seconds) * (threads or os.cpu_count() or 1) + 5,
                },
                [],
                LOAD_SECONDS,
            )[0]
            self.labels: list[str] | None = _names(head.get("labels"))
            self.classes: int | None = _number(head.get("classes"))
            self.parameters: int | None = _number(head.get("parameters"))
        except BaseException:
            self.close()
            raise

    def predict(self, batch: Batch) -> Outputs:
        """Logits and features of every item of the batch.

        Raises
        ------
        TeacherUnusable, InvalidItems
        """
        answer = self._ask(*of_batch(batch), self._batch_seconds, items=length(batch))
        try:
            outputs = to_outputs(*answer)
        except ChannelBroken as error:
            raise TeacherUnusable(f"the model's process gave an answer that makes no sense ({error})") from error
        self.classes = self.classes or outputs.logits.shape[-1]
        return outputs

    def close(self) -> None:
        """End the process."""
        self._process.end()

    def _ask(
        self, head: dict[str, Any], parts: list[Any], seconds: float, *, items: int | None = None
    ) -> tuple[dict[str, Any], list[bytearray]]:
        """What the child says to a batch of `items`, or, where that is None, to the request to load its model."""
        until = time.monotonic() + seconds
        try:
            self._process.channel.send(head, parts, until=until)
            reply, answer = self._process.channel.receive(largest_outputs(items or 0), until=until)
        except TimeoutError:
            self._process.end()
            what = "load" if items is None else f"answer {items} items"
            raise TeacherUnusable(
                f"the model did not {what} within {seconds:g} seconds; register a smaller model"
            ) from None
        except ChannelBroken as error:
            code = self._process.ended(_GRACE)
            self._process.end()
            if code is None:
                raise TeacherUnusable(f"the model's process gave an answer that makes no sense ({error})") from error
            raise TeacherUnusable(child_limits.cause_of_end(code, "loaded" if items is None else "ran")) from error
        if "refused" in reply:
            kind = InvalidItems if reply.get("of") == "probe" else TeacherUnusable
            raise kind(_printable(reply["refused"]))
        return reply, answer


def _names(value: object) -> list[str] | None:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):  # pyright: ignore[reportUnknownVariableType]
        return [str(name) for name in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return None


def _number(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _printable(value: object) -> str:
    return "".join(letter for letter in str(value)[:_LONGEST] if letter.isprintable())


def answer(line: Channel) -> None:
    """The child: loads one teacher, then answers batch after batch until the line is closed."""
    with suppress(ChannelBroken):
        request, _ = line.receive(0)
        on_gpu = _on_gpu(request["teacher"]["source"]["kind"], request["device"])
        limit(None if on_gpu else request["memory"], written=child_limits.LARGEST_WRITTEN)
        limit_time(request["seconds"])
        folder = Path(request["folder"])
        try:
            loaded = load_teacher(
                Teacher.model_validate(request["teacher"]),
                folder,
                device=request["device"],
                threads=request["threads"],
            )
        except TeacherUnusable as error:
            line.send({"refused": error.detail})
            return
        line.send({"labels": loaded.labels, "classes": loaded.classes, "parameters": loaded.parameters})
        while True:
            head, parts = line.receive(_LARGEST_BATCH)
            limit_time(request["seconds"])
            try:
                said, outputs = of_outputs(loaded.predict(to_batch(head, parts)))
            except InvalidItems as error:
                said, outputs = {"refused": error.detail, "of": "probe"}, []
            except ComputationFailed as error:
                said, outputs = {"refused": error.detail}, []
            except Exception as error:
                said, outputs = {"refused": reason_of(error, folder, doing="run")}, []
            line.send(said, outputs)


def _on_gpu(kind: str, device: str) -> bool:
    if device == "cpu":
        return False
    if kind == "onnx":
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    import torch

    return torch.cuda.is_available()
