"""Transformers folders as other tools leave them: wrapped names, chosen attention, processors that do not resize."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.errors import TeacherUnusable
from worker.teachers.interface import Items
from worker.teachers.loading import load_teacher
from worker.teachers.sources.weights_files import surplus_prefix
from worker.teachers.validation import validate_teacher

SOURCE = {"kind": "transformers"}
Make = Callable[..., Teacher]
Spoil = Callable[..., Path]
Picture = Callable[..., bytes]


def images(pictures: list[bytes]) -> list[Image.Image]:
    return [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]


def renamed(folder: Path, prefix: str) -> None:
    path = folder / "model.safetensors"
    tensors = {prefix + name: tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "net.model."])
def test_the_prefix_of_a_wrapper_is_stripped(
    prefix: str, image_folder: Path, image_model: Any, image_processor: Any, make_teacher: Make, spoilt: Spoil,
    picture: Picture,
) -> None:  # fmt: skip
    folder = spoilt(image_folder)
    renamed(folder, prefix)
    verdict = validate_teacher(make_teacher("image", SOURCE), folder)
    assert (verdict.status, verdict.reason) == (TeacherStatus.READY, None)
    found = load_teacher(make_teacher("image", SOURCE), folder).predict(Items(images=[picture()]))
    with torch.no_grad():
        expected = image_model(**image_processor(images=images([picture()]), return_tensors="pt")).logits
    assert np.allclose(found.logits, expected.numpy(), atol=1e-6)


def test_only_a_prefix_of_all_names_is_surplus() -> None:
    assert surplus_prefix(["module.a.w", "module.b"], {"a.w", "b"}) == "module."
    assert surplus_prefix(["model.a.w", "b"], {"a.w", "b"}) == ""
    assert surplus_prefix(["model.a.w", "model.b"], {"model.a.w", "model.b", "a.w"}) == ""
    assert surplus_prefix(["x.a", "x.b"], {"c", "d"}) == ""
    assert surplus_prefix([], {"c"}) == ""


def test_a_text_model_in_a_wrapper(text_folder: Path, make_teacher: Make, spoilt: Spoil) -> None:
    plain = load_teacher(make_teacher("text", SOURCE), text_folder).predict(Items(texts=["my order"]))
    folder = spoilt(text_folder)
    renamed(folder, "module.")
    wrapped = load_teacher(make_teacher("text", SOURCE), folder).predict(Items(texts=["my order"]))
    assert np.array_equal(plain.logits, wrapped.logits)


@pytest.mark.parametrize("value", ["sdpa", "eager"])
@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
def test_attention_that_ships_with_transformers_is_accepted(
    key: str, value: str, text_folder: Path, make_teacher: Make, spoilt: Spoil
) -> None:
    plain = load_teacher(make_teacher("text", SOURCE), text_folder).predict(Items(texts=["my order"]))
    folder = spoilt(text_folder, config={key: value})
    assert validate_teacher(make_teacher("text", SOURCE), folder, isolate=False).reason is None
    found = load_teacher(make_teacher("text", SOURCE), folder).predict(Items(texts=["my order"]))
    assert np.allclose(found.logits, plain.logits, atol=1e-5)


@pytest.mark.parametrize("value", ["flash_attention_2", "kernels-community/flash-attn", "flex_attention", ["sdpa"]])
def test_other_attention_is_not(value: Any, text_folder: Path, make_teacher: Make, spoilt: Spoil) -> None:
    folder = spoilt(text_folder, config={"_attn_implementation": value})
    reason = validate_teacher(make_teacher("text", SOURCE), folder, isolate=False).reason
    assert "'_attn_implementation'" in (reason or "")


def unresized(folder: Path) -> Path:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_resize": False}))
    return folder


def test_pictures_of_several_sizes_are_computed_one_size_after_the_other(
    image_folder: Path, image_model: Any, image_processor: Any, make_teacher: Make, spoilt: Spoil, picture: Picture
) -> None:
    folder = unresized(spoilt(image_folder))
    assert validate_teacher(make_teacher("image", SOURCE), folder).reason is None
    pictures = [picture(50, 40, 1), picture(33, 70, 2), picture(50, 40, 3), picture(33, 70, 4)]
    teacher = load_teacher(make_teacher("image", SOURCE), folder)
    found = teacher.predict(Items(images=pictures))
    with torch.no_grad():
        rows = [
            image_model(**image_processor(images=[one], do_resize=False, return_tensors="pt")).logits[0]
            for one in images(pictures)
        ]
    assert np.allclose(found.logits, torch.stack(rows).numpy(), atol=1e-6)
    assert found.features is not None
    assert found.features.shape == (4, 16)


def test_a_model_of_one_size_takes_pictures_of_that_size(tmp_path: Path, make_teacher: Make, picture: Picture) -> None:
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    labels = {0: "cat", 1: "dog"}
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        id2label=labels, label2id={name: number for number, name in labels.items()},
    )  # fmt: skip
    model = ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    processor = ViTImageProcessorPil(do_resize=False)
    processor.save_pretrained(tmp_path)
    verdict = validate_teacher(make_teacher("image", SOURCE), tmp_path)
    assert (verdict.status, verdict.reason) == (TeacherStatus.READY, None)
    teacher = load_teacher(make_teacher("image", SOURCE), tmp_path)
    found = teacher.predict(Items(images=[picture(32, 32)]))
    with torch.no_grad():
        expected = model(**processor(images=images([picture(32, 32)]), return_tensors="pt")).logits
    assert np.allclose(found.logits, expected.numpy(), atol=1e-5)
    with pytest.raises(TeacherUnusable, match=r"50 x 40 pixels .*do_resize is false.* takes 32 x 32 only"):
        teacher.predict(Items(images=[picture(32, 32), picture(50, 40)]))
