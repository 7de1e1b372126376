"""Plain values to bodies of the contract, and pointers to what is wrong with them."""

from typing import Any

import pytest

from preceptor import InvalidRequestError
from preceptor.contract.distillations import DistillationBody, TransformersStudent
from preceptor.contract.ids import digest_id, new_id
from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.teachers import TeacherBody
from preceptor.core.bodies import body, labels_or_id
from preceptor.core.calls import at, call, nothing
from preceptor.core.routes import recommendations, teachers

PREPROCESSING = {"modality": "image", "size": [8, "x"]}
PROBE = digest_id("prb", "0" * 64)


@pytest.mark.parametrize(
    ("kind", "values", "pointers"),
    [
        (RecommendationBody, {"student": {"labels": ["a"]}}, {"/student/labels"}),
        (RecommendationBody, {"student": {"labels": ["a", ""]}, "top_k": 0}, {"/student/labels/1", "/top_k"}),
        (
            TeacherBody,
            {
                "name": "x",
                "modality": "image",
                "labels": ["a", "b"],
                "source": {"kind": "onnx", "preprocessing": PREPROCESSING},
            },
            {"/source/preprocessing/size/1"},
        ),
        (TeacherBody, {"name": "x", "modality": "image", "source": {"kind": "onnx"}}, {"/source/preprocessing"}),
        (DistillationBody, {"data": PROBE, "teachers": ["x"], "a/b~": 1}, {"/teachers/0", "/a~1b~0"}),
    ],
)
def test_pointers_lead_into_the_body(kind: Any, values: dict[str, Any], pointers: set[str]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        body(kind, values)
    assert {error.pointer for error in caught.value.problem.errors} == pointers
    assert caught.value.status == 422


def test_what_concerns_the_whole_body_is_the_detail() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        body(RecommendationBody, {})
    assert str(caught.value) == "give student (label names), probe (data), or both"


def test_models_and_plain_values_mix_and_none_means_default() -> None:
    student = TransformersStudent(model_type="vit", config={"pooler": None, "layers": 2})
    made = body(DistillationBody, {"data": PROBE, "teachers": (new_id("tch"),), "student": student, "team": None})
    assert made.student == student
    assert made.team == 1


def test_a_label_set_in_any_form() -> None:
    known = LabelSetBody(labels=["a", "b"])
    assert labels_or_id(known) is known
    assert labels_or_id(known.identity()) == known.identity()
    assert labels_or_id(("a", "b")) == {"labels": ["a", "b"]}
    with pytest.raises(InvalidRequestError, match="give class names as a list"):
        labels_or_id("cat,dog")


def test_a_teacher_filter_takes_ids_or_one_tag() -> None:
    one = new_id("tch")
    request = recommendations.create(
        {"student": {"labels": ["a", "b"]}},
        teachers=[one],
        tags="zoo",
        modality="text",
        candidates=None,
        wait=None,
        idempotency_key=None,
    ).request
    assert isinstance(request.content, bytes)
    assert b'"teachers": {"ids": ["%s"], "tags": ["zoo"], "modality": "text"}' % one.encode() in request.content


def test_a_patch_holds_what_was_given_and_no_more() -> None:
    assert teachers.update(new_id("tch"), {"name": "n", "tags": None}).request.content == b'{"name": "n"}'


def test_posts_and_puts_carry_a_key_of_their_own_and_nothing_else_does() -> None:
    keys = [call(method, "/x", nothing).request.headers.get("Idempotency-Key") for method in ("POST", "POST", "PUT")]
    assert None not in keys
    assert len(set(keys)) == 3
    for method in ("GET", "PATCH", "DELETE"):
        assert "Idempotency-Key" not in call(method, "/x", nothing).request.headers


def test_paths_are_quoted() -> None:
    assert at("teachers", "a/b?c", "files", "ä") == "/v1/teachers/a%2Fb%3Fc/files/%C3%A4"
    for bad in ("", ".", ".."):
        with pytest.raises(InvalidRequestError):
            at("teachers", bad)
