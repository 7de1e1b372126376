"""Students: what they take, what they refuse, and that what is written down is the model that was trained."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from preceptor.contract.distillations import BuiltinStudent, TimmStudent, TransformersStudent
from preceptor.contract.files import missing, refusal
from preceptor.contract.teachers import Teacher
from worker.distillation.data import Augmentation, EncodedPictures, ExactReader, shifted
from worker.distillation.evaluation.measures import predict
from worker.distillation.export.artifacts import check_onnx, write_onnx
from worker.distillation.inputs import ArrayItems
from worker.distillation.students import Surroundings, blueprint_of, words as words_module
from worker.distillation.students.registered import registered_blueprint
from worker.distillation.students.transformers_folder import picture_preprocessing
from worker.errors import ComputationFailed
from worker.teachers.interface import Items
from worker.teachers.loading import load_teacher

LABELS = ["red", "green", "blue"]
TEXTS = ["the red door is open", "a green field in spring", "blue water, blue sky", "red", "green green blue"]


def picture(seed: int, size: tuple[int, int] = (20, 31)) -> bytes:
    """A PNG of coarse random colours."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize(size, Image.Resampling.BILINEAR).save(file, format="PNG")
    return file.getvalue()


PICTURES = ArrayItems(images=[picture(seed) for seed in range(5)])
WORDS = ArrayItems(texts=TEXTS)
VECTORS = ArrayItems(features=np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32))


def around(items: ArrayItems, scratch: Path, folder: Path | None = None) -> Surroundings:
    return Surroundings(items, None, 3, "cpu", scratch, folder)


def built(student: Any, items: ArrayItems, scratch: Path) -> Any:
    blueprint = blueprint_of(student, around(items, scratch))
    torch.manual_seed(0)
    return blueprint, blueprint.build().eval()


def batch(items: ArrayItems) -> Items:
    return Items(images=items.images, texts=items.texts, features=items.features)


CASES = [
    pytest.param(BuiltinStudent(), VECTORS, id="mlp"),
    pytest.param(BuiltinStudent(), PICTURES, id="cnn"),
    pytest.param(BuiltinStudent(name="bow"), WORDS, id="bow"),
    pytest.param(
        TransformersStudent(
            model_type="bert",
            config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        ),
        WORDS,
        id="bert",
    ),
    pytest.param(
        TransformersStudent(
            model_type="vit",
            config={
                "image_size": 32,
                "patch_size": 16,
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            },
        ),
        PICTURES,
        id="vit",
    ),
]


@pytest.mark.parametrize(("student", "items"), CASES)
def test_what_is_saved_answers_as_a_teacher(student: Any, items: ArrayItems, tmp_path: Path) -> None:
    """The folder, loaded the way any teacher is, gives the logits of the model in memory."""
    blueprint, model = built(student, items, tmp_path)
    folder = tmp_path / "student"
    folder.mkdir()
    source = blueprint.save(model, folder, LABELS)
    encoded = blueprint.encode(items)
    wanted = predict(model, encoded)
    assert wanted.shape == (5, 3)
    write_onnx(model, encoded.gather(torch.arange(4)), folder / "model.onnx")
    assert check_onnx(model, encoded.gather(torch.arange(5)), folder / "model.onnx").same_answers == 5
    names = [path.name for path in folder.iterdir() if refusal(source.kind, path.name) is None]
    assert missing(source.kind, set(names)) == []
    teacher = Teacher.model_validate(
        {
            "id": "tch_" + 26 * "0",
            "name": "student",
            "status": "ready",
            "source": source.model_dump(),
            "modality": blueprint.modality,
            "labels": LABELS,
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
        }
    )
    loaded = load_teacher(teacher, folder, threads=1)
    assert loaded.predict(batch(items)).logits == pytest.approx(wanted, abs=2e-4)
    if source.kind == "transformers":
        assert loaded.labels == LABELS


def test_without_static_vectors_words_are_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_module.importlib.util, "find_spec", lambda name: None)
    blueprint, model = built(BuiltinStudent(), WORDS, tmp_path)
    assert model.vectors is not None
    inputs = blueprint.encode(WORDS).gather(torch.arange(5))
    with torch.no_grad():
        given = model(**inputs)
        # Padding says nothing.
        longer = {name: torch.nn.functional.pad(tensor, (0, 3)) for name, tensor in inputs.items()}
        assert torch.allclose(model(**longer), given, atol=1e-6)


def test_a_registered_model_keeps_its_body_and_gets_a_new_head(tmp_path: Path) -> None:
    student = TransformersStudent(
        model_type="vit",
        config={
            "image_size": 32,
            "patch_size": 16,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
    )
    blueprint, model = built(student, PICTURES, tmp_path)
    folder = tmp_path / "first"
    folder.mkdir()
    blueprint.save(model, folder, LABELS)
    second = registered_blueprint(around(PICTURES, tmp_path, folder), {})
    torch.manual_seed(7)
    started = second.build()
    before, after = model.state_dict(), started.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"inner.classifier.weight"}  # biases start at 0 in both
    assert predict(started, second.encode(PICTURES)).shape == (5, 3)


def test_registered_needs_a_transformers_folder(tmp_path: Path) -> None:
    with pytest.raises(ComputationFailed, match="source 'transformers'"):
        registered_blueprint(around(PICTURES, tmp_path, tmp_path), {})


@pytest.mark.parametrize(
    ("student", "items", "reason"),
    [
        (BuiltinStudent(name="cnn"), WORDS, "does not take text"),
        (TransformersStudent(model_type="nonsense"), WORDS, "has no model type"),
        (TransformersStudent(model_type="bert", config={"wings": 2}), WORDS, "has no 'wings'"),
        (TransformersStudent(model_type="bert", config={"vocab_size": 9}), WORDS, "follows from the data"),
        (TransformersStudent(model_type="bert", config={"hidden_size": 7}), WORDS, "cannot be built|not valid"),
        (TransformersStudent(model_type="bert", config={"num_hidden_layers": 4096}), WORDS, "rejected"),
        (TransformersStudent(model_type="bert", config={"hidden_size": 12288}), WORDS, "smaller config"),
        (TransformersStudent(model_type="bert"), PICTURES, "no image classifier"),
        (TransformersStudent(model_type="vit"), VECTORS, "use the student 'mlp'"),
    ],
)
def test_what_cannot_be_built_is_refused(student: Any, items: ArrayItems, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ComputationFailed, match=reason):
        blueprint_of(student, around(items, tmp_path))


def test_timm_without_timm_says_so(tmp_path: Path) -> None:
    try:
        import timm  # noqa: F401  # pyright: ignore[reportMissingImports]
    except Exception:
        with pytest.raises(ComputationFailed, match="timm cannot be imported"):
            blueprint_of(TimmStudent(architecture="resnet18"), around(PICTURES, tmp_path))
    else:
        blueprint, model = built(TimmStudent(architecture="resnet10t"), PICTURES, tmp_path)
        assert predict(model, blueprint.encode(PICTURES)).shape == (5, 3)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    items = ArrayItems(images=[picture(0), b"not a picture"])
    with pytest.raises(ComputationFailed, match="item 1"):
        blueprint_of(BuiltinStudent(), around(items, tmp_path)).encode(items)


def test_pictures_read_again_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ExactReader(picture_preprocessing((16, 16), 3))
    kept = EncodedPictures(PICTURES, reader, torch.device("cpu"))
    monkeypatch.setattr("worker.distillation.data.PICTURE_BUDGET", 0)
    again = EncodedPictures(PICTURES, reader, torch.device("cpu"))
    rows = torch.tensor([3, 0, 3])
    first, second = kept.gather(rows)["pixel_values"], again.gather(rows)["pixel_values"]
    assert torch.equal(first, second)
    assert first.shape == (3, 3, 16, 16)
    assert -1 <= float(first.min()) < float(first.max()) <= 1


def test_pictures_are_mirrored_on_request_alone() -> None:
    """Shifts are drawn before, from the same numbers: what differs is the mirroring."""
    encoded = EncodedPictures(PICTURES, ExactReader(picture_preprocessing((16, 16), 3)), torch.device("cpu"))
    rows = torch.zeros(16, dtype=torch.int64)

    def drawn(mirror: bool) -> torch.Tensor:
        return encoded.gather(rows, Augmentation(torch.Generator().manual_seed(1), mirror))["pixel_values"]

    plain, turned = drawn(False), drawn(True)
    kept = [bool(torch.equal(ours, theirs)) for ours, theirs in zip(plain, turned, strict=True)]
    flipped = [bool(torch.equal(ours, theirs.flip(2))) for ours, theirs in zip(plain, turned, strict=True)]
    assert all(one != other for one, other in zip(kept, flipped, strict=True))
    assert 3 < sum(flipped) < 13


def test_shifts_move_whole_pictures() -> None:
    pictures = torch.arange(2 * 3 * 16 * 16).reshape(2, 3, 16, 16)
    moved = shifted(pictures, torch.Generator().manual_seed(4))
    assert moved.shape == pictures.shape
    for before, after in zip(pictures, moved, strict=True):
        places = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(after[:, 2:-2, 2:-2], before[:, 2 + down : 14 + down, 2 + right : 14 + right])
        ]
        assert len(places) == 1


def test_hidden_tokens_are_few_and_never_the_first(tmp_path: Path) -> None:
    blueprint, _ = built(BuiltinStudent(), WORDS, tmp_path)
    encoded = blueprint.encode(WORDS)
    rows = torch.arange(5).repeat(40)
    whole = encoded.gather(rows)["attention_mask"]
    hidden = encoded.gather(rows, Augmentation(torch.Generator().manual_seed(0)))["attention_mask"]
    assert (hidden <= whole).all()
    assert (hidden[:, 0] == 1).all()
    assert 0.03 < 1 - hidden.sum().item() / whole.sum().item() < 0.15
