"""timm teachers, where timm works; elsewhere a readable reason."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.errors import TeacherUnusable
from worker.teachers.interface import Items
from worker.teachers.loading import load_teacher
from worker.teachers.preprocessing.images import prepare_pictures
from worker.teachers.sources.timm import import_timm, preprocessing_of
from worker.teachers.validation import validate_teacher

SOURCE = {"kind": "timm", "architecture": "resnet10t"}
Make = Callable[..., Teacher]


def timm_or_skip() -> Any:
    try:
        return import_timm()
    except TeacherUnusable as error:
        pytest.skip(error.detail)


def test_without_timm_the_reason_is_readable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_teacher: Make
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")
    verdict = validate_teacher(make_teacher("image", SOURCE, ["cat", "dog"]), tmp_path)
    assert verdict.status is TeacherStatus.REJECTED
    assert "timm does not work on this worker" in (verdict.reason or "")
    assert "install timm with a torchvision that fits" in (verdict.reason or "")


def test_timms_data_config_becomes_preprocessing() -> None:
    how = preprocessing_of(
        {"input_size": (3, 224, 192), "crop_pct": 0.875, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}
    )
    assert how.size == (224, 192)
    assert how.crop_fraction == 0.875
    assert np.allclose(how.mean, [127.5, 102, 76.5])
    assert np.allclose(how.std, [51, 51, 25.5])


def test_a_model_of_timm_is_run(tmp_path: Path, make_teacher: Make, picture: Callable[..., bytes]) -> None:
    timm = timm_or_skip()
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=3).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    teacher = make_teacher("image", SOURCE, ["cat", "dog", "fox"])
    verdict = validate_teacher(teacher, tmp_path)
    assert (verdict.status, verdict.reason, verdict.features) == (TeacherStatus.READY, None, 512)
    loaded = load_teacher(teacher, tmp_path)
    found = loaded.predict(Items(images=[picture(300, 200)]))
    weights, bias = loaded.class_weights, model.get_classifier().bias.detach().numpy()
    assert weights is not None
    assert found.features is not None
    assert np.allclose(found.features @ weights.T + bias, found.logits, atol=1e-4)
    wrong = validate_teacher(make_teacher("image", SOURCE, ["cat", "dog"]), tmp_path)
    assert "do not fit resnet10t" in (wrong.reason or "")
    unknown = make_teacher("image", {"kind": "timm", "architecture": "no_such"}, ["cat", "dog", "fox"])
    assert "no architecture 'no_such'" in (validate_teacher(unknown, tmp_path).reason or "")


def timms_pixels(image: Image.Image, config: dict[str, Any]) -> np.ndarray:
    """`timm.data.create_transform(**config, is_training=False)`, written out with Pillow.

    From timm/data/transforms_factory.py (`transforms_imagenet_eval`) and torchvision's Resize, CenterCrop, ToTensor.
    """
    height, width = config["input_size"][1:]
    crop = config.get("crop_pct") or 0.875
    tall, wide = math.floor(height / crop), math.floor(width / crop)
    kind = Image.Resampling[config["interpolation"].upper()]
    mode = config.get("crop_mode", "center")
    if mode == "squash":
        size = (wide, tall)
    elif mode == "center" and tall == wide:
        short, long = min(image.size), max(image.size)
        other = int(tall * long / short)
        size = (tall, other) if image.width <= image.height else (other, tall)
    else:
        pair = (image.height / tall, image.width / wide)
        ratio = max(pair) if mode == "border" else min(pair)
        size = (round(image.width / ratio), round(image.height / ratio))
        kind = kind if mode == "border" else Image.Resampling.BILINEAR
    image = image.resize(size, kind)
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    ground = Image.new("RGB", (width, height), tuple(round(255 * value) for value in config["mean"]))
    ground.paste(image, (-left, -top))
    values = np.asarray(ground, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, std = (np.asarray(config[name], dtype=np.float32)[:, None, None] for name in ("mean", "std"))
    return (values - mean) / std


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "lanczos"])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(3, 64, 64), (3, 48, 64)])
@pytest.mark.parametrize("crop", [None, 0.9, 0.95, 1.0])
def test_pixels_are_those_of_timms_transform(
    interpolation: str, mode: str, size: tuple[int, ...], crop: float | None, picture: Callable[..., bytes]
) -> None:
    config = {
        "input_size": size,
        "interpolation": interpolation,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "crop_pct": crop,
        "crop_mode": mode,
    }
    for shape in ((150, 99), (70, 201), (31, 40)):
        data = picture(*shape)
        found = prepare_pictures([data], preprocessing_of(config))[0]
        expected = timms_pixels(Image.open(io.BytesIO(data)).convert("RGB"), config)
        assert np.abs(found - expected).max() < 1e-5


def test_a_data_config_that_is_not_known_is_refused() -> None:
    config = {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    for key, value in (("interpolation", "sinc"), ("crop_mode", "corner")):
        with pytest.raises(TeacherUnusable, match=key):
            preprocessing_of({**config, key: value})
