"""Hostile models end a child process, never the worker."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from preceptor.contract.teachers import Teacher, TeacherStatus
from service.sandbox.child_process import environment
from worker.teachers import child_limits
from worker.teachers.outputs import RunStopped
from worker.teachers.validation import validate_isolated, validate_teacher

LABELS = ["cat", "dog", "fox"]
SOURCE = {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 6}}
Make = Callable[..., Teacher]
Folder = Callable[..., Path]


def test_the_child_gives_the_same_verdict(make_teacher: Make, onnx_folder: Folder) -> None:
    teacher, folder = make_teacher("features", SOURCE, LABELS), onnx_folder()
    started = time.perf_counter()
    verdict = validate_teacher(teacher, folder)
    assert time.perf_counter() - started < 20
    assert verdict == validate_teacher(teacher, folder, isolate=False)
    assert verdict.status is TeacherStatus.READY


def test_rejections_and_many_labels_come_back(make_teacher: Make, onnx_folder: Folder) -> None:
    labels = [f"a rather long name of the class number {n}" for n in range(20_000)]
    verdict = validate_teacher(make_teacher("features", SOURCE, labels), onnx_folder())
    assert verdict.reason == (
        "the model has 3 outputs but there are 20000 labels; give one label for each output, in order"
    )


def test_a_model_that_eats_memory_is_rejected(make_teacher: Make, onnx_folder: Folder) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceMax", ["big"], ["max"], keepdims=0),
        helper.make_node("Gemm", ["x", "w"], ["z"]),
        helper.make_node("Add", ["z", "max"], ["logits"]),
    ]
    # The input decides how much, so that no optimiser computes it beforehand.
    nodes.insert(0, helper.make_node("Shape", ["x"], ["shape"]))
    nodes.insert(1, helper.make_node("Mul", ["shape", "factor"], ["size"]))
    folder = onnx_folder(nodes, {"factor": np.array([2**20, 2**12], dtype=np.int64)})
    verdict = validate_teacher(make_teacher("features", SOURCE, LABELS), folder)
    assert verdict.status is TeacherStatus.REJECTED
    assert "memory" in (verdict.reason or "")


def test_a_validation_that_is_to_stop_ends_its_child(
    make_teacher: Make, onnx_folder: Folder, endless_body: onnx.GraphProto
) -> None:
    nodes = [
        helper.make_node("Loop", ["trips", "true", "x"], ["y"], body=endless_body),
        helper.make_node("Gemm", ["y", "w"], ["logits"]),
    ]
    folder = onnx_folder(nodes, {"trips": np.array(2**62, dtype=np.int64), "true": np.array(True)})
    teacher = make_teacher("features", SOURCE, LABELS)
    with pytest.raises(RunStopped):
        validate_teacher(teacher, folder, should_stop=lambda: True)


def test_a_model_that_never_ends_is_rejected(
    make_teacher: Make, onnx_folder: Folder, endless_body: onnx.GraphProto
) -> None:
    nodes = [
        helper.make_node("Loop", ["trips", "true", "x"], ["y"], body=endless_body),
        helper.make_node("Gemm", ["y", "w"], ["logits"]),
    ]
    folder = onnx_folder(nodes, {"trips": np.array(2**62), "true": np.array(True)})
    teacher = make_teacher("features", SOURCE, LABELS)
    verdict = validate_teacher(teacher, folder, timeout_seconds=4)
    assert verdict.reason == ("the model did not answer the sample within 4 seconds; register a smaller model")


def test_a_child_that_dies_is_a_rejection(make_teacher: Make, onnx_folder: Folder) -> None:
    # Too little room for the interpreter's own libraries: the child ends without an answer.
    verdict = validate_isolated(make_teacher("features", SOURCE, LABELS), onnx_folder(), memory_bytes=60 * 2**20)
    assert verdict.status is TeacherStatus.REJECTED
    assert "memory" in (verdict.reason or "")


def test_the_child_sees_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PRECEPTOR_REDIS_URL", "redis://:secret@host")
    assert "secret" not in repr(environment(child_limits.variables(1, "cpu")))
    assert "secret" not in repr(environment(child_limits.variables(1, "auto")))


def test_a_module_in_the_teachers_folder_is_not_imported(make_teacher: Make, onnx_folder: Folder) -> None:
    folder = onnx_folder()
    (folder / "numpy.py").write_text("raise SystemExit(7)")
    verdict = validate_teacher(make_teacher("features", SOURCE, LABELS), folder)
    assert verdict.status is TeacherStatus.READY
