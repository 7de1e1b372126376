"""timm teachers, where timm works; elsewhere a readable reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.errors import TeacherUnusable
from worker.teachers.interface import Items
from worker.teachers.loading import load_teacher
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
