"""Transformers folders: the same numbers as transformers itself, and a readable reason for every broken one."""

import io
import json
import pickle
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
from worker.teachers.validation import validate_teacher

SOURCE = {"kind": "transformers"}
Make = Callable[..., Teacher]
Spoil = Callable[..., Path]
Picture = Callable[..., bytes]


def test_pictures_give_what_transformers_gives(
    image_folder: Path, image_model: Any, image_processor: Any, make_teacher: Make, picture: Picture
) -> None:
    pictures = [picture(50, 40, 1), picture(20, 90, 2)]
    teacher = load_teacher(make_teacher("image", SOURCE), image_folder, threads=1)
    assert teacher.labels == ["cat", "dog", "red fox"]
    assert teacher.classes == 3
    assert teacher.parameters == sum(p.numel() for p in image_model.parameters())
    found = teacher.predict(Items(images=pictures))
    images = [Image.open(io.BytesIO(data)) for data in pictures]
    with torch.no_grad():
        expected = image_model(image_processor(images=images, return_tensors="pt")["pixel_values"]).logits
    assert found.logits.dtype == np.float32
    assert np.allclose(found.logits, expected.numpy(), atol=1e-6)
    _check_last_layer(found, teacher.class_weights, image_model.classifier[1])


def test_texts_give_what_transformers_gives(text_folder: Path, text_model: Any, make_teacher: Make) -> None:
    from transformers import PreTrainedTokenizerFast

    texts = ["where is my order?", "", "money back " * 40]
    teacher = load_teacher(make_teacher("text", SOURCE), text_folder)
    found = teacher.predict(Items(texts=texts))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(text_folder)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=24, return_tensors="pt")
    with torch.no_grad():
        expected = text_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert np.allclose(found.logits, expected.numpy(), atol=1e-6)
    _check_last_layer(found, teacher.class_weights, text_model.classifier)


def _check_last_layer(found: Any, weights: Any, layer: Any) -> None:
    """Features and class weights give the logits back."""
    assert np.array_equal(weights, layer.weight.detach().numpy())
    assert np.allclose(found.features @ weights.T + layer.bias.detach().numpy(), found.logits, atol=1e-5)


def test_equal_input_gives_equal_output(image_folder: Path, make_teacher: Make, picture: Picture) -> None:
    items = Items(images=[picture(30, 30, seed) for seed in range(4)])
    first = load_teacher(make_teacher("image", SOURCE), image_folder).predict(items)
    second = load_teacher(make_teacher("image", SOURCE), image_folder).predict(items)
    assert np.array_equal(first.logits, second.logits)


def test_gray_models_get_gray_pictures(tmp_path: Path, make_teacher: Make, picture: Picture) -> None:
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=16,
        patch_size=8,
        num_channels=1,
        id2label={0: "odd", 1: "even"},
    )
    model = ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    processor = ViTImageProcessorPil(size={"height": 16, "width": 16}, image_mean=[0.5], image_std=[0.5])
    processor.save_pretrained(tmp_path)
    assert validate_teacher(make_teacher("image", SOURCE), tmp_path).status is TeacherStatus.READY
    found = load_teacher(make_teacher("image", SOURCE), tmp_path).predict(Items(images=[picture()]))
    gray = Image.open(io.BytesIO(picture())).convert("L").resize((16, 16), Image.Resampling.BILINEAR)
    pixels = (np.asarray(gray, dtype=np.float32) / 255 - 0.5) / 0.5
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels)[None, None]).logits
    assert np.allclose(found.logits, expected.numpy(), atol=1e-5)


def test_validation_accepts_and_describes(image_folder: Path, text_folder: Path, make_teacher: Make) -> None:
    image = validate_teacher(make_teacher("image", SOURCE), image_folder)
    assert (image.status, image.reason) == (TeacherStatus.READY, None)
    assert (image.labels, image.classes, image.features) == (["cat", "dog", "red fox"], 3, 16)
    text = validate_teacher(make_teacher("text", SOURCE), text_folder)
    assert (text.status, text.classes, text.features) == (TeacherStatus.READY, 4, 16)
    assert image.digest != text.digest


def test_given_labels_repair_a_config(image_folder: Path, make_teacher: Make, spoilt: Spoil) -> None:
    folder = spoilt(image_folder, config={"id2label": {str(n): f"LABEL_{n}" for n in range(3)}})
    refused = validate_teacher(make_teacher("image", SOURCE), folder)
    assert refused.status is TeacherStatus.REJECTED
    assert "LABEL_0" in (refused.reason or "")
    names = ["cat", "dog", "fox"]
    accepted = validate_teacher(make_teacher("image", SOURCE, names), folder)
    assert (accepted.status, accepted.labels) == (TeacherStatus.READY, names)


def test_given_labels_stand_in_for_a_config_without_names(
    image_folder: Path, make_teacher: Make, spoilt: Spoil
) -> None:
    folder = spoilt(image_folder, config={"id2label": None, "label2id": None})
    accepted = validate_teacher(make_teacher("image", SOURCE, ["cat", "dog", "fox"]), folder)
    assert (accepted.status, accepted.reason) == (TeacherStatus.READY, None)
    refused = validate_teacher(make_teacher("image", SOURCE, ["cat", "dog"]), folder)
    assert "another shape" in (refused.reason or "")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"id2label": {"0": "cat", "1": "dog"}}, "'classifier.1.bias' and 1 more have another shape"),
        ({"id2label": {"0": "cat", "2": "dog", "3": "fox"}}, "keys 0 to 2 without a gap"),
        ({"id2label": {"0": "cat", "1": "dog", "2": "cat"}}, "position 2 equals 'cat' at position 0"),
        ({"id2label": {"0": 1, "1": 2, "2": 3}}, "class numbers to names"),
        ({"id2label": ["cat", "dog", "fox"]}, "class numbers to names"),
        ({"id2label": None}, "config.json names no classes"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "has 'auto_map': the model needs code"),
        ({"quantization_config": {"quant_method": "gptq"}}, "unquantised"),
        ({"_attn_implementation": "kernels-community/flash-attn"}, "needs code or parts from elsewhere"),
        ({"problem_type": "multi_label_classification"}, "exactly one of its labels"),
        ({"depths": [1, 100_000]}, "'depths' in config.json is 100000, more than 512"),
        ({"num_labels": 2**24}, "'num_labels' in config.json is 16777216, more than 20000"),
        ({"embedding_size": 10**9}, "'embedding_size' in config.json is 1000000000"),
        ({"hidden_sizes": [8, 60_000]}, "weights but the files hold"),
        ({"hidden_sizes": [8, 24]}, "another shape than config.json says"),
        ({"model_type": "resnot"}, "model_type 'resnot'"),
        ({"model_type": "bert"}, "a 'bert' model is no image classifier"),
        ({"num_channels": 4}, "another shape"),
    ],
)
def test_a_wrong_config_is_rejected_with_a_reason(
    image_folder: Path, make_teacher: Make, spoilt: Spoil, config: dict[str, Any], told: str
) -> None:
    verdict = validate_teacher(make_teacher("image", SOURCE), spoilt(image_folder, config=config))
    assert verdict.status is TeacherStatus.REJECTED
    assert told in (verdict.reason or "")
    _is_readable(verdict.reason)


def _is_readable(reason: str | None) -> None:
    assert reason is not None
    assert "Traceback" not in reason
    assert "/tmp" not in reason
    assert "\n" not in reason
    assert len(reason) < 500


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t["classifier.1.weight"].fill_(float("nan")), "outputs are not finite for item 0"),
        (lambda t: t.pop("classifier.1.weight"), "the weights lack 'classifier.1.weight'"),
        (lambda t: t.update({"classifier.1.weight": torch.zeros(5, 16)}), "another shape than config.json says"),
    ],
)
def test_wrong_weights_are_rejected(
    image_folder: Path, make_teacher: Make, spoilt: Spoil, change: Any, told: str
) -> None:
    folder = spoilt(image_folder)
    rewrite(folder, change)
    verdict = validate_teacher(make_teacher("image", SOURCE), folder)
    assert verdict.status is TeacherStatus.REJECTED
    assert told in (verdict.reason or "")
    _is_readable(verdict.reason)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"classifier.weight": [1, 2, 3]}))


def _forge(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_truncate, "cut off: it should hold 100 more bytes"),
        (_empty, "not a safetensors file"),
        (_pickle, "not a safetensors file"),
        (_forge, "describes the tensor 'w' wrongly"),
    ],
)
def test_damaged_weights_are_rejected(
    image_folder: Path, make_teacher: Make, spoilt: Spoil, damage: Callable[[Path], None], told: str
) -> None:
    folder = spoilt(image_folder)
    damage(folder / "model.safetensors")
    verdict = validate_teacher(make_teacher("image", SOURCE), folder)
    assert verdict.status is TeacherStatus.REJECTED
    assert told in (verdict.reason or "")
    _is_readable(verdict.reason)


@pytest.mark.parametrize(
    ("folder_name", "without", "told"),
    [
        ("image_folder", "config.json", "config.json missing"),
        ("image_folder", "model.safetensors", "model.safetensors missing"),
        ("image_folder", "preprocessor_config.json", "preprocessor_config.json is missing"),
        ("text_folder", "tokenizer.json", "tokenizer.json is missing"),
    ],
)
def test_a_missing_file_is_named(
    request: pytest.FixtureRequest, make_teacher: Make, spoilt: Spoil, folder_name: str, without: str, told: str
) -> None:
    folder = spoilt(request.getfixturevalue(folder_name), without=without)
    verdict = validate_teacher(make_teacher("image" if "image" in folder_name else "text", SOURCE), folder)
    assert verdict.status is TeacherStatus.REJECTED
    assert told in (verdict.reason or "")
    assert "save" in (verdict.reason or "")


def test_shards_must_be_complete(image_folder: Path, make_teacher: Make, spoilt: Spoil) -> None:
    folder = spoilt(image_folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(tensors)}
    for shard in set(shards.values()):
        part = {name: tensors[name] for name in tensors if shards[name] == shard}
        save_file(part, folder / shard, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": shards}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert validate_teacher(make_teacher("image", SOURCE), folder).status is TeacherStatus.READY
    (folder / "model-00002-of-00002.safetensors").unlink()
    verdict = validate_teacher(make_teacher("image", SOURCE), folder)
    assert "names model-00002-of-00002.safetensors, which is missing" in (verdict.reason or "")


def test_a_tokenizer_of_another_model_is_refused(text_folder: Path, make_teacher: Make, spoilt: Spoil) -> None:
    folder = spoilt(text_folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] |= {f"more{n}": 100 + n for n in range(50)}
    path.write_text(json.dumps(content))
    verdict = validate_teacher(make_teacher("text", SOURCE), folder)
    assert "tokens but the model knows 64" in (verdict.reason or "")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": {"height": 100_000, "width": 32}}, "at most 2048 pixels a side"),
        ({"auto_map": {"AutoImageProcessor": "evil.P"}}, "preprocessor_config.json has 'auto_map'"),
        ({"size": {"height": 32, "width": 32}, "image_mean": [0.5]}, "could not be run"),
    ],
)
def test_a_wrong_preprocessor_is_rejected(
    image_folder: Path, make_teacher: Make, spoilt: Spoil, change: dict[str, Any], told: str
) -> None:
    folder = spoilt(image_folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    verdict = validate_teacher(make_teacher("image", SOURCE), folder)
    assert verdict.status is TeacherStatus.REJECTED
    assert told in (verdict.reason or "")


def test_modalities_must_fit(image_folder: Path, text_folder: Path, make_teacher: Make, picture: Picture) -> None:
    wrong = validate_teacher(make_teacher("text", SOURCE), image_folder)
    assert "a 'resnet' model is no text classifier" in (wrong.reason or "")
    vectors = validate_teacher(make_teacher("features", SOURCE), image_folder)
    assert "not feature vectors" in (vectors.reason or "")
    teacher = load_teacher(make_teacher("text", SOURCE), text_folder)
    with pytest.raises(TeacherUnusable, match="takes texts"):
        teacher.predict(Items(images=[picture()]))


def test_weights_of_an_adapter_are_named_as_such(text_folder: Path, make_teacher: Make, spoilt: Spoil) -> None:
    folder = spoilt(text_folder)
    names = ("base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight", "base_model.model.classifier")
    save_file({name: torch.zeros(4, 16) for name in names}, folder / "model.safetensors")
    with pytest.raises(TeacherUnusable, match=r"lora_A.*adapter.*merge_and_unload"):
        load_teacher(make_teacher("text", SOURCE), folder)
