"""UnfinishedValidations that do not depend on a source."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.errors import TeacherUnusable
from worker.teachers.interface import length
from worker.teachers.loading import SOURCES, load_teacher
from worker.teachers.samples import sample
from worker.teachers.validation import Verdict, validate_teacher

Make = Callable[..., Teacher]


def test_a_black_box_needs_only_its_labels(make_teacher: Make, tmp_path: Path) -> None:
    ready = validate_teacher(make_teacher("image", {"kind": "predictions"}, ["cat", "dog"]), tmp_path)
    assert (ready.status, ready.classes, ready.labels) == (TeacherStatus.READY, 2, ["cat", "dog"])
    assert ready.digest
    refused = validate_teacher(make_teacher("image", {"kind": "predictions"}, ["LABEL_0", "LABEL_1"]), tmp_path)
    assert refused.status is TeacherStatus.REJECTED
    with pytest.raises(TeacherUnusable, match="upload its predictions for this probe"):
        load_teacher(make_teacher("image", {"kind": "predictions"}, ["cat", "dog"]), tmp_path)


def test_bad_labels_are_refused_before_anything_is_loaded(make_teacher: Make, tmp_path: Path) -> None:
    source = {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 2}}
    verdict = validate_teacher(make_teacher("features", source, ["cat", "cat"]), tmp_path, isolate=False)
    assert "labels must be distinct" in (verdict.reason or "")


# A Hub teacher's empty folder is filled from the Hub: tests/integration/teachers/test_hub_source.py.
@pytest.mark.parametrize("kind", sorted(SOURCES.keys() - {"hub"}))
def test_an_empty_folder_is_a_reason_for_every_source(kind: str, make_teacher: Make, tmp_path: Path) -> None:
    preprocessing = {"modality": "image", "size": [8, 8]}
    more = {
        "onnx": {"preprocessing": preprocessing},
        "torch_export": {"preprocessing": preprocessing},
        "timm": {"architecture": "resnet18"},
    }
    teacher = make_teacher("image", {"kind": kind} | more.get(kind, {}), ["cat", "dog"])
    verdict = validate_teacher(teacher, tmp_path, isolate=False)
    assert verdict.status is TeacherStatus.REJECTED
    assert "missing" in (verdict.reason or "")


def test_samples_cover_the_modality(make_teacher: Make) -> None:
    images = sample(make_teacher("image", {"kind": "transformers"}))
    assert length(images) == 2
    texts = sample(make_teacher("text", {"kind": "transformers"})).texts
    assert texts is not None
    assert "" in texts
    assert any(not text.isascii() for text in texts)
    source = {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 9}}
    vectors = sample(make_teacher("features", source, ["a", "b"])).features
    assert vectors is not None
    assert vectors.shape == (2, 9)
    assert not vectors[0].any()
    assert abs(float((vectors[1] ** 2).sum()) - 1) < 1e-6


def test_a_verdict_is_plain_values() -> None:
    verdict = Verdict(TeacherStatus.READY, None, ["cat"], 1, 2, "d", 3)
    told = json.loads(json.dumps(verdict.to_json()))
    assert told["status"] == "ready"
    assert Verdict(**(told | {"status": TeacherStatus(told["status"])})) == verdict
