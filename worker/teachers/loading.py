"""From a registration and its files to a teacher that answers: one table of sources, looked up by kind."""

import importlib
from pathlib import Path
from typing import Final, Protocol

from preceptor.contract.teachers import Teacher

from .errors import TeacherUnusable, reason_of
from .interface import LoadedTeacher


class Loader(Protocol):
    """The `load` function of a module in `worker.teachers.sources`."""

    def __call__(self, teacher: Teacher, folder: Path, *, device: str, threads: int | None) -> LoadedTeacher: ...


# Imported when first used: onnxruntime, torch and transformers take seconds, and no teacher needs them all. A sandboxed
# source must start no thread when it is imported: a process with threads cannot be forked safely.
SOURCES: Final[dict[str, str]] = {
    "transformers": "worker.teachers.sources.transformers",
    "onnx": "worker.teachers.sources.onnx.source",
    "torch_export": "worker.teachers.sources.torch_export.source",
    "timm": "worker.teachers.sources.timm",
    "hub": "worker.teachers.sources.hub",
}


def load_teacher(teacher: Teacher, folder: Path, *, device: str = "cpu", threads: int | None = None) -> LoadedTeacher:
    """Load a teacher of any source that has a model.

    Parameters
    ----------
    teacher
        Its registration.
    folder
        A folder with its files under their own names. A teacher of kind ``hub`` is downloaded into it.
    device
        ``cpu``, ``cuda``, ``cuda:1``, ... or ``auto``.
    threads
        Threads to compute with; None or 0 leaves it to the library. For torch this holds for the process.

    Raises
    ------
    TeacherUnusable
        For any fault of the model or its files: the message says what is wrong and what to do.
    """
    module = SOURCES.get(teacher.source.kind)
    if module is None:
        raise TeacherUnusable(
            "a teacher of kind 'predictions' has no model to run; upload its predictions for this probe"
        )
    try:
        load: Loader = importlib.import_module(module).load
        return load(teacher, folder, device=device, threads=threads)
    except TeacherUnusable:
        raise
    except Exception as error:
        raise TeacherUnusable(reason_of(error, folder)) from error
