"""ONNX graphs: the checks alone, thousands in a minute, and whole runs of those that are taken."""

import atexit
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from preceptor.contract.base import now
from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.teachers import Teacher, TeacherStatus
from service.sandbox.fork_server import ForkServer
from worker.teachers.child_limits import fork_server
from worker.teachers.errors import TeacherUnusable, reason_of
from worker.teachers.interface import Items
from worker.teachers.outputs import run_teacher
from worker.teachers.sandboxed import SandboxedTeacher
from worker.teachers.sources.onnx.graph_check import count_parameters, last_linear, read_model

from .case import Files, Outcome, Parser, Reached, refuse_leftovers
from .onnx_inputs import spoil_onnx, spoil_quietly
from .onnx_seeds import CLASSES, FEATURES, onnx_seeds

_BATCHES: Final = (1, 3, 16, 64)
_SECONDS: Final = 4.0
_MEMORY: Final = 3 * 2**30


def _sentence(error: TeacherUnusable) -> Outcome:
    assert 10 < len(error.detail) < 1500, f"a text of {len(error.detail)} characters"
    error.detail.encode()
    return "refused"


def _graph(files: Files, folder: Path) -> Reached:
    """What is done with a file before it is handed to onnxruntime."""
    path = folder / "model.onnx"
    path.write_bytes(files["model.onnx"])
    try:
        model = read_model(path)
    except TeacherUnusable as error:
        _sentence(error)
        return Reached("refused", "not parsed" if "not an ONNX model" in error.detail else "parsed")
    except Exception as error:  # `load_teacher` makes a sentence of it
        return Reached(_sentence(TeacherUnusable(reason_of(error, folder))), "checks: another error")
    try:
        assert count_parameters(model) >= 0
        for output in model.graph.output:
            last_linear(model, output.name)
    except AssertionError:
        raise
    except Exception as error:
        return Reached(_sentence(TeacherUnusable(reason_of(error, folder))), "weights: another error")
    return Reached("accepted", "passed the checks")


@cache
def _server() -> ForkServer:
    server = fork_server(1, "cpu")
    atexit.register(server.close)
    return server


@cache
def _teacher() -> Teacher:
    preprocessing: dict[str, Any] = {"modality": "features", "dimension": FEATURES}
    return Teacher.model_validate(
        {
            "id": new_id(TEACHER),
            "name": "a teacher",
            "status": TeacherStatus.READY,
            "source": {"kind": "onnx", "preprocessing": preprocessing},
            "modality": "features",
            "labels": [f"class {number}" for number in range(CLASSES)],
            "created_at": now(),
            "updated_at": now(),
        }
    )


def _run(alone: bool, files: Files, folder: Path) -> Reached:
    """Load a model as a job does, in a process of its own, and ask it for more and more items.

    `alone`: nothing is done with the file in this process, not even to see how far it comes.
    """
    path = folder / "model.onnx"
    path.write_bytes(files["model.onnx"])
    stage = "unknown" if alone else _checked(path)
    try:
        loaded = SandboxedTeacher(
            _server(), _teacher(), folder, threads=1, memory_bytes=_MEMORY, batch_seconds=_SECONDS
        )
    except TeacherUnusable as error:
        _sentence(error)
        return Reached("refused", stage)
    stage = "loaded"
    rng = np.random.default_rng(0)
    try:
        for count in _BATCHES:
            batch = Items(features=rng.normal(size=(count, FEATURES)).astype(np.float32))
            found = run_teacher(loaded, [batch], batch_size=count)
            assert found.logits.shape[0] == count
            assert np.isfinite(found.logits).all()
            stage = f"ran {count} items" if count > 1 else "ran 1 item"
    except TeacherUnusable as error:  # InvalidProbe would tell the model's fault as the probe's
        _sentence(error)
        return Reached("refused", stage)
    finally:
        loaded.close()
        refuse_leftovers(folder, {"model.onnx"})
    return Reached("accepted", stage)


def _checked(path: Path) -> str:
    """How far a file comes that onnxruntime does not take."""
    try:
        read_model(path)
    except TeacherUnusable as error:
        return "not parsed" if "not an ONNX model" in error.detail else "parsed"
    except Exception:
        return "checks: another error"
    return "passed the checks"


PARSERS: Final = [
    Parser("onnx graph", onnx_seeds, spoil_onnx, _graph, contained=partial(_run, True)),
    Parser("onnx run", onnx_seeds, spoil_quietly, partial(_run, False), contained=partial(_run, True)),
]
