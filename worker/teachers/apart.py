"""Teachers that run in a process of their own: their graph is a stranger's program, and may do anything in time.

ONNX graphs and exported programs can decide by the number of items what they do. One that answers the sample of a
validation may ask for all memory, or never end, over a probe. Then this process ends, and the job goes on without it.
"""

import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from preceptor.contract.teachers import Modality, Teacher
from service.state.errors import InvalidProbe, PreceptorError

from . import child
from .interface import Batch, Float32, Outputs, length
from .loading import load_teacher
from .rejection import TeacherUnusable, reason_of
from .wire import Broken, Line, largest_outputs, of_batch, of_outputs, to_batch, to_outputs

LOAD_SECONDS: Final = 120.0
"""As long as a validation may take in all."""
BATCH_SECONDS: Final = 300.0
"""One forward pass of some dozens of items, on a slow and busy machine."""
_LARGEST_BATCH: Final = 2**31
_MODULE: Final = "worker.teachers.apart"
_LONGEST: Final = 1000


class TeacherApart:
    """A loaded teacher in a child process. See `LoadedTeacher`.

    Parameters
    ----------
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
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = child.start(_MODULE, folder, threads=threads or 1, device=device, socket=theirs.fileno())
        self._line = Line(ours)
        try:
            head = self._ask(
                {
                    "teacher": teacher.model_dump(mode="json"),
                    "folder": str(folder.absolute()),
                    "device": device,
                    "threads": threads,
                    "memory": (memory_bytes or child.memory_for(folder)) if device == "cpu" else None,
                    "seconds": int(batch_seconds) * (threads or os.cpu_count() or 1) + 5,
                },
                [],
                LOAD_SECONDS,
                doing="loaded",
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
        TeacherUnusable, InvalidProbe
        """
        answer = self._ask(*of_batch(batch), self._batch_seconds, doing="ran", largest=largest_outputs(length(batch)))
        try:
            outputs = to_outputs(*answer)
        except Broken as error:
            raise TeacherUnusable(f"the model's process gave an answer that makes no sense ({error})") from error
        self.classes = self.classes or outputs.logits.shape[-1]
        return outputs

    def close(self) -> None:
        """End the process."""
        self._line.socket.close()
        child.end(self._child)

    def _ask(
        self, head: dict[str, Any], parts: list[Any], seconds: float, *, doing: str, largest: int = 0
    ) -> tuple[dict[str, Any], list[bytearray]]:
        until = time.monotonic() + seconds
        try:
            self._line.send(head, parts, until=until)
            told, answer = self._line.receive(largest, until=until)
        except TimeoutError:
            child.end(self._child)
            what = "load" if doing == "loaded" else f"answer {max(len(parts), 1)} items"
            raise TeacherUnusable(
                f"the model did not {what} within {seconds:g} seconds; register a smaller model"
            ) from None
        except Broken as error:
            if (code := self._ended()) is None:
                raise TeacherUnusable(f"the model's process gave an answer that makes no sense ({error})") from error
            raise TeacherUnusable(child.epitaph(code, doing)) from error
        if "refused" in told:
            kind = InvalidProbe if told.get("of") == "probe" else TeacherUnusable
            raise kind(_printable(told["refused"]))
        return told, answer

    def _ended(self) -> int | None:
        """The child's exit status, where it has ended; it is ended here where it has not."""
        with suppress(Exception):
            return self._child.wait(2)
        child.end(self._child)
        return None


def _names(value: object) -> list[str] | None:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):  # pyright: ignore[reportUnknownVariableType]
        return [str(name) for name in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return None


def _number(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _printable(value: object) -> str:
    return "".join(letter for letter in str(value)[:_LONGEST] if letter.isprintable())


def _child() -> None:
    """The child: loads one teacher, then answers batch after batch until the line is closed."""
    line = Line(socket.socket(fileno=int(sys.argv[1])))
    # Libraries may print; nobody reads it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with suppress(Broken):
        request, _ = line.receive(0)
        child.limit(request["memory"])
        child.limit_time(request["seconds"])
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
            child.limit_time(request["seconds"])
            try:
                said, answer = of_outputs(loaded.predict(to_batch(head, parts)))
            except InvalidProbe as error:
                said, answer = {"refused": error.detail, "of": "probe"}, []
            except PreceptorError as error:
                said, answer = {"refused": error.detail}, []
            except Exception as error:
                said, answer = {"refused": reason_of(error, folder, doing="run")}, []
            line.send(said, answer)


if __name__ == "__main__":
    _child()
