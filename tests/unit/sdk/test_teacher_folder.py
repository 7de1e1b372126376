"""Folders that can be teachers, and those that cannot."""

import json
from pathlib import Path
from typing import Any

import pytest

from preceptor import TeacherFolder, TeacherFolderError
from preceptor.contract.teachers import OnnxSource

PREPROCESSING = {"modality": "image", "size": [8, 8], "mean": [127.0], "std": [128.0]}


def write(folder: Path, manifest: dict[str, Any] | None = None, **files: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    if manifest is not None:
        (folder / "teacher.json").write_text(json.dumps(manifest))
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


def onnx(**values: Any) -> dict[str, Any]:
    return {"name": "x", "modality": "image", "labels": ["a", "b"], "source": {"kind": "onnx"}, **values}


def test_a_manifest_with_informative_keys_and_outer_preprocessing(tmp_path: Path) -> None:
    manifest = onnx(preprocessing=PREPROCESSING, licence="Apache-2.0", origin="a package", tags=["zoo"])
    folder = write(tmp_path / "t", manifest, model__onnx=b"1", README__md=b"hello")
    read = TeacherFolder.read(folder, description="mine")
    assert isinstance(read.body.source, OnnxSource)
    assert read.body.source.preprocessing.mean == [127.0]
    assert (read.body.name, read.body.tags, read.body.description) == ("x", ["zoo"], "mine")
    assert [file.name for file in read.files] == ["model.onnx"]
    assert read.skipped == {}
    assert read.size == 1


def test_inner_preprocessing_wins_over_outer(tmp_path: Path) -> None:
    inner = {"kind": "onnx", "preprocessing": {**PREPROCESSING, "size": [4, 4]}}
    folder = write(tmp_path / "t", onnx(source=inner, preprocessing=PREPROCESSING), model__onnx=b"1")
    source = TeacherFolder.read(folder).body.source
    assert isinstance(source, OnnxSource)
    assert source.preprocessing.size == (4, 4)


@pytest.mark.parametrize(
    ("architecture", "modality"),
    [("ResNetForImageClassification", "image"), ("BertForSequenceClassification", "text")],
)
def test_a_transformers_folder_needs_no_manifest(tmp_path: Path, architecture: str, modality: str) -> None:
    config = json.dumps({"architectures": [architecture], "id2label": {"0": "a"}}).encode()
    folder = write(tmp_path / "resnet", None, config__json=config, model__safetensors=b"1", vocab__txt=b"1")
    read = TeacherFolder.read(folder)
    assert (read.body.name, read.body.modality, read.body.source.kind) == ("resnet", modality, "transformers")
    assert [file.name for file in read.files] == ["config.json", "model.safetensors", "vocab.txt"]


def test_a_pickle_beside_good_weights_stays_behind_and_is_named(tmp_path: Path) -> None:
    config = json.dumps({"architectures": ["ViTForImageClassification"]}).encode()
    folder = write(
        tmp_path / "t", None, config__json=config, model__safetensors=b"1", pytorch_model__bin=b"1", x__pt=b"1"
    )
    read = TeacherFolder.read(folder)
    assert set(read.skipped) == {"pytorch_model.bin", "x.pt"}
    with pytest.warns(UserWarning, match="not uploaded") as told:
        read.warn_of_skipped()
    assert sorted(str(warning.message).split("'")[1] for warning in told) == ["pytorch_model.bin", "x.pt"]


@pytest.mark.parametrize("manifest", [None, {"name": "x", "modality": "image", "source": {"kind": "transformers"}}])
def test_a_folder_of_pickles_is_refused_with_the_way_out(tmp_path: Path, manifest: dict[str, Any] | None) -> None:
    folder = write(tmp_path / "t", manifest, config__json=b"{}", pytorch_model__bin=b"1")
    with pytest.raises(TeacherFolderError, match=r"pytorch_model\.bin.*run code.*safetensors"):
        TeacherFolder.read(folder)


TRANSFORMERS = {"name": "x", "modality": "text", "source": {"kind": "transformers"}}


@pytest.mark.parametrize("manifest", [None, TRANSFORMERS])
@pytest.mark.parametrize(
    "files",
    [
        {"adapter_config__json": b"{}", "adapter_model__safetensors": b"1"},
        {"adapter_config__json": b"{}", "adapter_model__safetensors": b"1", "config__json": b"{}"},
        {"adapter_config__json": b"{}", "adapter_model__bin": b"1", "tokenizer__json": b"{}"},
        {"config__json": b"{}", "pytorch_lora_weights__safetensors": b"1"},
        {"adapter_config__json": b"{}"},
    ],
)
def test_an_adapter_is_named_with_the_way_to_merge_it(
    tmp_path: Path, manifest: dict[str, Any] | None, files: dict[str, bytes]
) -> None:
    folder = write(tmp_path / "t", manifest, **files)
    with pytest.raises(TeacherFolderError, match=r"adapter.*merge_and_unload\(\)\.save_pretrained"):
        TeacherFolder.read(folder)


def test_an_adapter_beside_a_model_stays_behind_and_is_named(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "t", TRANSFORMERS, config__json=b"{}", model__safetensors=b"1", adapter_config__json=b"{}"
    )
    read = TeacherFolder.read(folder)
    assert [file.name for file in read.files] == ["config.json", "model.safetensors"]
    assert "merge_and_unload" in read.skipped["adapter_config.json"]


def test_what_is_missing_or_wrong_is_said(tmp_path: Path) -> None:
    cases: list[tuple[Path, str]] = [
        (tmp_path / "nowhere", "does not exist"),
        (write(tmp_path / "empty"), "holds no model"),
        (
            write(tmp_path / "bare", None, model__onnx=b"1"),
            "has no teacher.json; a model of kind 'onnx' needs one",
        ),
        (write(tmp_path / "lacks", onnx(preprocessing=PREPROCESSING)), "lacks model.onnx"),
        (write(tmp_path / "blank", onnx(preprocessing=PREPROCESSING), model__onnx=b""), "is empty"),
        (write(tmp_path / "typo", onnx(preprocessing=PREPROCESSING, lables=["a"])), "/lables"),
        (write(tmp_path / "prep", onnx()), "/source/preprocessing: it is missing"),
        (write(tmp_path / "list", None, teacher__json=b"[]"), "must hold a JSON object"),
        (write(tmp_path / "cut", None, teacher__json=b"{"), "is not JSON"),
        (
            write(tmp_path / "mute", None, config__json=b"{}", model__safetensors=b"1"),
            "whether this model reads images, texts",
        ),
    ]
    for folder, message in cases:
        with pytest.raises(TeacherFolderError, match=message):
            TeacherFolder.read(folder)
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(TeacherFolderError, match="is a file, not a folder"):
        TeacherFolder.read(file)


def test_modality_settles_what_a_mute_folder_leaves_open(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", None, config__json=b"{}", model__safetensors=b"1")
    assert TeacherFolder.read(folder, modality="text").body.modality == "text"


def test_sources_without_files_send_none(tmp_path: Path) -> None:
    hub = {"kind": "hub", "repository": "owner/name", "revision": "0" * 40}
    folder = write(tmp_path / "t", {"name": "x", "modality": "text", "source": hub}, notes__txt=b"1")
    assert TeacherFolder.read(folder).files == ()
