"""What a recommendation says of its probe, and of class names that name nothing."""

from typing import Any, cast

import numpy as np
import pytest

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import RecommendationBody
from service.core.errors import InvalidRequest
from service.core.labels.student_labels import placeholders_of, require_meaning
from service.core.storage.probe_file import ProbeData
from worker.jobs.probe_use import nameless, unused

PROBE = "prb_" + 26 * "a"


def asked(**more: Any) -> RecommendationBody:
    return RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}, "probe": PROBE, **more})


class Labelled:
    labels = np.array([0, 1])


class Unlabelled:
    labels = None


@pytest.mark.parametrize(
    ("body", "data", "why"),
    [
        (asked(), Unlabelled(), "it has no labels"),
        (asked(method="label_transport"), Labelled(), "label_transport compares class names only"),
        (asked(candidates=[{"name": "a", "labels": ["x", "y"]}]), Labelled(), "candidates are label sets"),
    ],
)
def test_why_a_probe_was_not_used(body: RecommendationBody, data: Any, why: str) -> None:
    (warning,) = unused(body, "label_transport", cast(ProbeData, data))
    assert warning.startswith(f"the probe {PROBE} was not used")
    assert why in warning


def test_without_a_probe_nothing_is_said() -> None:
    assert unused(asked(), "label_transport", None) == []


@pytest.mark.parametrize("method", ["auto", "leep", "prediction_transport"])
def test_of_a_probe_that_was_used_nothing_is_said(method: Any) -> None:
    assert unused(asked(), method, cast(ProbeData, Labelled())) == []


@pytest.mark.parametrize("labels", [["LABEL_0", "LABEL_1"], ["1", "2", "10"], ["class_0", "class_1"], ["0.0", "1.0"]])
def test_placeholders_need_a_labelled_probe(labels: list[str]) -> None:
    student = LabelSetBody(labels=labels)
    for body in (asked(), asked(candidates=[{"name": "a", "labels": ["x", "y"]}]), asked(method="label_transport")):
        with pytest.raises(InvalidRequest, match="name nothing"):
            require_meaning(student, body, labelled=body.method != "auto" or body.candidates is not None)
    require_meaning(student, asked(), labelled=True)
    require_meaning(student, asked(method="leep"), labelled=True)
    assert "ranked by the probe only" in nameless(student)[0]


def test_names_and_what_explains_placeholders() -> None:
    assert nameless(LabelSetBody(labels=["cat", "dog", "7"])) == []
    described = LabelSetBody(labels=["0", "1"], descriptions={"0": "a cat", "1": "a dog"})
    assert placeholders_of(described) == []
    assert placeholders_of(LabelSetBody(labels=["0", "1"], descriptions={"0": "a cat"})) == ["1"]
    assert placeholders_of(LabelSetBody(labels=["0", "1"], embeddings=[[1.0, 0.0], [0.0, 1.0]])) == []
    require_meaning(described, asked(), labelled=False)
