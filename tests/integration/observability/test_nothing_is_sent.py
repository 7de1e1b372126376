"""Libraries that report to their makers what they run do not do so here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_RUN = """
import os, sys
{first}
import onnx, onnxruntime
from onnx import TensorProto as T, helper as h
graph = h.make_graph(
    [h.make_node("Identity", ["x"], ["y"])],
    "g",
    [h.make_tensor_value_info("x", T.FLOAT, ["n", 2])],
    [h.make_tensor_value_info("y", T.FLOAT, ["n", 2])],
)
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=10)
onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
print(len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0)
"""


def left_by(first: str, folder: Path, **more: str) -> list[str]:
    """Files that a Python process leaves in its home and temporary folders when it has made a session."""
    (folder / "tmp").mkdir(parents=True)
    # A continuous integration or a test would switch the reports off by itself.
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")}
    home = {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, "-c", _RUN.format(first=first)], env=kept | home | more, cwd=_ROOT, check=True, timeout=60
    )
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_worker_reports_nothing_of_its_models(tmp_path: Path) -> None:
    assert left_by("import worker", tmp_path / "worker") == []


def test_the_check_can_fail(tmp_path: Path) -> None:
    if not left_by("", tmp_path / "library", ORT_DISABLE_TELEMETRY="0"):
        pytest.skip("this build of onnxruntime reports nothing")
