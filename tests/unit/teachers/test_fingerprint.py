"""What a teacher's inputs and outputs say of a wrong preprocessing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from preceptor.contract.teachers import ImagePreprocessing, Teacher, TeacherFingerprint
from worker.teachers.fingerprint import fingerprint, for_unit_pixels, mean_entropy, probe_warnings, sample_warnings
from worker.teachers.validation import Verdict, validate_teacher

Make = Callable[..., Teacher]
LABELS = ["red", "green", "blue"]
IMAGENET: dict[str, Any] = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def colours(scale: float = 1.0) -> onnx.ModelProto:
    """The mean of each channel, as three logits."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["pixel_values", "axes"], ["m"], keepdims=0),
            helper.make_node("Mul", ["m", "scale"], ["logits"]),
        ],
        "g",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.array([2, 3]), "axes"), numpy_helper.from_array(np.float32(scale), "scale")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def judged(folder: Path, make: Make, model: onnx.ModelProto | None = None, **how: Any) -> Verdict:
    (folder / "model.onnx").write_bytes((model or colours()).SerializeToString())
    source = {"kind": "onnx", "preprocessing": {"modality": "image", "size": [8, 8], **how}}
    verdict = validate_teacher(make("image", source, LABELS), folder, isolate=False)
    assert verdict.reason is None
    return verdict


def shown(verdict: Verdict) -> TeacherFingerprint:
    return TeacherFingerprint.model_validate(verdict.fingerprint)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"mean": [127.5], "std": [127.5]},
        {"mean": [255 * value for value in IMAGENET["mean"]], "std": [255 * value for value in IMAGENET["std"]]},
        {**IMAGENET, "rescale_factor": 1 / 255},
        {"mean": [103.939, 116.779, 123.68], "channels": "bgr"},
        {"rescale_factor": 1 / 255},
    ],
)
def test_usual_preprocessing_is_not_remarked(how: dict[str, Any], tmp_path: Path, make_teacher: Make) -> None:
    verdict = judged(tmp_path, make_teacher, **how)
    assert verdict.warnings == []
    found = shown(verdict)
    assert found.items == 12
    assert found.input_min is not None
    assert found.input_max is not None
    assert -256 <= found.input_min < found.input_max <= 256
    assert found.predicted_classes == 3
    assert found.constant_inputs == 0


def test_mean_and_std_of_unit_pixels_are_recognised(tmp_path: Path, make_teacher: Make) -> None:
    verdict = judged(tmp_path, make_teacher, **IMAGENET)
    assert len(verdict.warnings) == 1
    assert "mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225 are meant for pixels of 0..1" in verdict.warnings[0]
    assert "from -2 to 1,136" in verdict.warnings[0]
    exact = judged(tmp_path, make_teacher, **IMAGENET, rescale_factor=1 / 255)
    assert shown(verdict) == shown(exact)
    # The owner may insist; then the numbers themselves are reported.
    forced = judged(tmp_path, make_teacher, **IMAGENET, rescale_factor=1.0)
    assert "values from -2" in forced.warnings[0]
    assert (shown(forced).input_max or 0) > 1000


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"mean": [127.0], "std": [0.2]}, "models are trained on values between -256 and 256"),
        ({"mean": [0.5], "std": [127.5]}, "mean 0.5 lies between 0 and 1"),
        ({"mean": [0.5], "std": [0.5], "rescale_factor": 1 / 65025}, "nearly without contrast"),
        ({"std": [65025.0]}, "nearly without contrast"),
        ({"rescale_factor": 255.0}, "models are trained on values between"),
        ({"mean": [0.0], "std": [1 / 255]}, "models are trained on values between"),
    ],
)
def test_other_units_are_reported(how: dict[str, Any], told: str, tmp_path: Path, make_teacher: Make) -> None:
    warnings = judged(tmp_path, make_teacher, **how).warnings
    assert any(told in warning for warning in warnings), warnings


def test_a_model_that_ignores_its_input_is_reported(tmp_path: Path, make_teacher: Make) -> None:
    verdict = judged(tmp_path, make_teacher, colours(scale=0.0))
    assert any("the same for all 12 items" in warning for warning in verdict.warnings)
    assert shown(verdict).entropy == 1.0


def test_units_are_recognised_only_where_they_are_certain() -> None:
    def certain(mean: list[float], std: list[float]) -> bool:
        return for_unit_pixels(ImagePreprocessing(size=(8, 8), mean=mean, std=std))

    assert certain([0.5], [0.5])
    assert certain([0.0], [0.25])
    assert certain([0.1307], [0.3081])
    assert not certain([0.0], [1.0])
    assert not certain([0.5], [1.0])
    assert not certain([0.5], [127.5])
    assert not certain([127.5], [0.5])
    assert not certain([0.0], [1 / 255])
    assert not certain([-0.5], [0.5])


def test_black_and_white_inputs_are_reported() -> None:
    pixels = np.random.default_rng(0).choice([0.0, 1.0], size=(12, 3, 8, 8)).astype(np.float32)
    logits = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
    found = fingerprint({"pixel_values": pixels}, logits, "image")
    assert found.saturated_inputs == 1
    assert "black and white only" in sample_warnings(found, logits, "image")[0]


def test_entropy_is_a_share_of_the_maximum() -> None:
    assert mean_entropy(np.zeros((4, 7), dtype=np.float32)) == pytest.approx(1)
    assert mean_entropy(np.eye(3, dtype=np.float32) * 1000) == pytest.approx(0)
    half = np.log(np.array([[0.5, 0.5, 1e-30, 1e-30]], dtype=np.float32))
    assert mean_entropy(half) == pytest.approx(0.5, abs=1e-6)


def test_a_probe_shows_predictions_of_one_class() -> None:
    draw = np.random.default_rng(0)
    varied = draw.normal(size=(40, 3)).astype(np.float32)
    assert probe_warnings(varied, LABELS, 2) == []
    one = varied + np.array([0, 30, 0], dtype=np.float32)
    assert probe_warnings(one, LABELS, 2) == [
        "it predicts 'green' for all 40 items: check its preprocessing and its labels"
    ]
    nearly = one.copy()
    nearly[:2] *= -1
    assert "for 95% of 40 items" in probe_warnings(nearly, LABELS)[0]
    assert probe_warnings(one, LABELS, 1) == [], "a probe of one class may have one prediction"
    assert probe_warnings(one[:10], LABELS, 2) == [], "too few items"
    assert "nearly uniform" in probe_warnings(varied * 1e-3, LABELS)[0]
    shifted = np.exp(varied) / np.exp(varied).sum(axis=1, keepdims=True)
    assert "sum to 1 for every item" in probe_warnings(shifted, LABELS)[0]
