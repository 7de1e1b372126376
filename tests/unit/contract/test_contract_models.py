"""The contract: ids, label sets, files, requests that contradict themselves."""

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from preceptor.contract import files, ids
from preceptor.contract.distillations import DistillationBody
from preceptor.contract.labels import MAX_LABELS, LabelSetBody
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.teachers import TeacherBody

PROBE = ids.content_id(ids.PROBE, [b"x"])


def test_ids_sort_by_time_and_have_their_form() -> None:
    made = [ids.new_id(ids.TEACHER) for _ in range(100)]
    assert [id[:14] for id in made] == sorted(id[:14] for id in made)
    assert all(ids.is_id(ids.TEACHER, id) for id in made)
    assert len(set(made)) == 100
    assert not ids.is_id(ids.PROBE, made[0])


@given(st.lists(st.binary(max_size=8), max_size=5), st.lists(st.binary(max_size=8), max_size=5))
def test_content_ids_are_equal_for_equal_content_only(a: list[bytes], b: list[bytes]) -> None:
    assert (ids.content_id("lbl", a) == ids.content_id("lbl", b)) == (a == b)


def test_labels_of_any_script_are_kept() -> None:
    labels = ["猫", "كلب", "собака", "🐴 horse", "Ünïcode", "a/b ~c"]
    assert LabelSetBody(labels=labels).labels == labels


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([], "at least 2"),
        (["one"], "at least 2"),
        (["a", "a"], "distinct"),
        (["a", " a "], "distinct"),
        (["e\u0301", "\u00e9"], "distinct"),
        (["a", ""], "at least 1 character"),
        (["a", "   "], "empty"),
        (["a", "b\x00"], "control characters"),
        (["a", "x" * 201], "at most 200"),
        ([f"label {n}" for n in range(100_000)], f"at most {MAX_LABELS}"),
    ],
)
def test_bad_labels_say_why(labels: list[str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        LabelSetBody(labels=labels)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"prior": [1.0]}, "one entry a label"),
        ({"prior": [0.0, 0.0]}, "positive sum"),
        ({"prior": [-1.0, 2.0]}, "greater than or equal to 0"),
        ({"prior": [float("nan"), 1.0]}, "finite"),
        ({"embeddings": [[1.0]]}, "one row a label"),
        ({"embeddings": [[1.0], [1.0, 2.0]]}, "same dimension"),
        ({"embeddings": [[1.0], [0.0]]}, "zero"),
        ({"descriptions": {"c": "see"}}, "not in the set"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_bad_label_set_extras_say_why(extra: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        LabelSetBody.model_validate({"labels": ["a", "b"], **extra})


def test_priors_are_normalised() -> None:
    assert LabelSetBody(labels=["a", "b"], prior=[3, 1]).normalised_prior() == [0.75, 0.25]
    assert LabelSetBody(labels=["a", "b"]).normalised_prior() == [0.5, 0.5]


def test_a_label_set_is_known_by_its_content() -> None:
    one, two = LabelSetBody(labels=["a", "b"]), LabelSetBody(labels=["b", "a"])
    assert one.identity() == LabelSetBody(labels=["a ", "b"]).identity()
    assert one.identity() != two.identity()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("transformers", "config.json"),
        ("transformers", "model.safetensors"),
        ("transformers", "model-00001-of-00002.safetensors"),
        ("transformers", "tokenizer.json"),
        ("onnx", "model.onnx"),
        ("torch_export", "model.pt2"),
    ],
)
def test_model_files_are_taken(kind: str, name: str) -> None:
    assert files.refusal(kind, name) is None


@pytest.mark.parametrize("kind", ["transformers", "onnx", "torch_export", "timm"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl", "model.ckpt", "modeling_x.py"])
def test_pickles_and_code_are_refused_with_the_way_out(kind: str, name: str) -> None:
    reason = files.refusal(kind, name)
    assert reason is not None
    assert "run code" in reason
    assert "safetensors" in reason


@pytest.mark.parametrize("kind", ["transformers", "onnx", "timm"])
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
def test_files_of_an_adapter_are_refused_as_such(kind: str, name: str) -> None:
    reason = files.refusal(kind, name)
    assert reason is not None
    assert "adapter" in reason
    assert "merge_and_unload().save_pretrained(FOLDER)" in reason


def test_an_adapter_is_known_by_its_files_and_by_its_weights() -> None:
    assert files.adapter(["config.json", "tokenizer.json"]) is None
    assert files.adapter(["adapter_config.json", "model.safetensors"]) is None
    assert "belongs to an adapter" in (files.adapter(["adapter_config.json", "config.json"]) or "")
    assert files.adapter_weights(["bert.encoder.layer.0.attention.self.query.weight", "classifier.weight"]) is None
    for name in ("base_model.model.bert.query.lora_A.weight", "x.lora_B.default.weight", "x.lora_embedding_A"):
        assert name in (files.adapter_weights(["classifier.weight", name]) or "")


def test_missing_files_are_named() -> None:
    assert files.missing("transformers", {"tokenizer.json"}) == ["config.json", "model.safetensors"]
    assert files.missing("transformers", {"config.json", "model-00001-of-00001.safetensors"}) == []
    assert files.missing("onnx", set()) == ["model.onnx"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "student"),
        ({"student": {"labels": ["a", "b"]}, "method": "prediction_transport"}, "needs a probe"),
        (
            {
                "probe": PROBE,
                "method": "prediction_transport",
                "candidates": [{"name": "x", "labels": ["a", "b"]}],
            },
            "without a model",
        ),
        ({"student": {"labels": ["a", "b"], "embeddings": [[1.0], [2.0]]}}, "different encoders"),
        ({"student": "tch_123"}, "pattern"),
        ({"student": {"labels": ["a", "b"]}, "top_k": 0}, "greater than or equal to 1"),
    ],
)
def test_contradictory_recommendations_say_why(body: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        RecommendationBody.model_validate(body)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"data": PROBE}, "either teachers or recommendation"),
        ({"data": PROBE, "teachers": []}, "at least 1"),
        ({"data": PROBE, "teachers": [ids.content_id("tch", [b"1"])] * 2}, "distinct"),
    ],
)
def test_contradictory_distillations_say_why(body: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DistillationBody.model_validate(body)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "x", "modality": "text", "source": {"kind": "pickle"}}, "pickle"),
        ({"name": "x", "modality": "text", "source": {"kind": "predictions"}}, "labels are missing"),
        (
            {
                "name": "x",
                "modality": "text",
                "labels": ["a", "b"],
                "source": {"kind": "onnx", "preprocessing": {"modality": "image", "size": [2, 2]}},
            },
            "is for 'image'",
        ),
        (
            {"name": "x", "modality": "text", "source": {"kind": "hub", "repository": "a/b", "revision": "main"}},
            "revision",
        ),
    ],
)
def test_contradictory_teachers_say_why(body: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TeacherBody.model_validate(body)


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert RecommendationBody.model_validate_json('{"student": {"labels": ["a", "b"]}, "top_k": 3.0}').top_k == 3
    for wrong in ("3.5", '"3"', "true", "1e400"):
        with pytest.raises(ValidationError):
            RecommendationBody.model_validate_json(f'{{"student": {{"labels": ["a", "b"]}}, "top_k": {wrong}}}')


@pytest.mark.parametrize(
    "value",
    [
        {f"field {number}": 0 for number in range(100_000)},
        {"labels": ["cat", "dog"], **{f"field {number}": 0 for number in range(100_000)}},
        {"labels": [""] * 20_000},
        {"labels": ["cat", "dog"], "prior": [-1] * 20_000},
        {"labels": ["cat", "dog"], "embeddings": [[]] * 20_000},
        {"labels": ["cat", "dog"], "embeddings": [["x"] * 4096] * 2},
        {"labels": ["cat", "dog"], "descriptions": {f"label {number}": "" for number in range(100_000)}},
    ],
)
def test_what_is_wrong_thousands_of_times_is_told_once(value: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as told:
        LabelSetBody.model_validate(value)
    assert told.value.error_count() == 1
    with pytest.raises(ValidationError) as told:
        RecommendationBody.model_validate({"student": {"labels": ["a", "b"]}, "candidates": [{"name": "x"} | value]})
    assert told.value.error_count() <= 2


def test_some_misspelt_fields_are_all_named() -> None:
    with pytest.raises(ValidationError) as told:
        LabelSetBody.model_validate({"labels": ["cat", "dog"], "piror": [1, 2], "description": {}})
    assert {error["loc"] for error in told.value.errors()} == {("piror",), ("description",)}
