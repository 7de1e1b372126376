"""The contract's version: what older readers are spared, and that whatever a request gains is recorded."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel

from preceptor.contract import ids
from preceptor.contract.distillations import DistillationBody
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.validations import ValidationBody
from preceptor.contract.versions import CONTRACT, full_form, stored_form

RECORDED = Path(__file__).with_name("requests_by_contract.json")
PROBE = ids.content_id(ids.PROBE, [b"x"])
TEACHER = ids.new_id(ids.TEACHER)
NAMES: dict[str, Any] = {"student": {"labels": ["cat", "dog"]}, "candidates": [{"name": "a", "labels": ["b", "c"]}]}
STUDY: dict[str, Any] = {"data": PROBE, "teachers": [TEACHER]}


@pytest.mark.parametrize(
    ("kind", "given", "contract"),
    [
        (RecommendationBody, NAMES, 1),
        (RecommendationBody, {**NAMES, "priority": "normal", "budget_seconds": None}, 1),
        (RecommendationBody, {**NAMES, "priority": "low"}, 2),
        (RecommendationBody, {"probe": PROBE, "budget_seconds": 3}, 2),
        (DistillationBody, STUDY, 1),
        (DistillationBody, {**STUDY, "training": {"schedule": "one_cycle", "epochs": 3}}, 1),
        (DistillationBody, {**STUDY, "training": {"schedule": "cosine"}}, 2),
        (DistillationBody, {**STUDY, "training": {"early_stopping": {}}}, 2),
        (DistillationBody, {**STUDY, "loss": {"name": "wkd"}}, 2),
        (DistillationBody, {**STUDY, "loss": {"name": "transport", "weight": 1}}, 1),
        (ValidationBody, {"teacher": TEACHER}, 1),
    ],
)
def test_a_request_needs_what_it_uses(kind: type[BaseModel], given: dict[str, Any], contract: int) -> None:
    body = kind.model_validate(given)
    form, needed = stored_form(body)
    assert needed == contract
    assert kind.model_validate(form) == body
    assert full_form(kind, form) == body.model_dump(mode="json")


def test_newer_fields_at_their_defaults_are_not_stored() -> None:
    form, _ = stored_form(RecommendationBody.model_validate(NAMES))
    assert not {"priority", "budget_seconds"} & set(form)
    assert form["temperature"] == 1.0, "a default that older versions know is stored: it may change"
    form, _ = stored_form(DistillationBody.model_validate(STUDY))
    assert set(form["training"]) == {
        "epochs", "batch_size", "learning_rate", "weight_decay", "seed", "seeds", "time_limit_seconds"
    }  # fmt: skip
    form, _ = stored_form(DistillationBody.model_validate({**STUDY, "training": {"ema": 0.9}}))
    assert form["training"]["ema"] == 0.9


def test_what_cannot_be_read_is_shown_as_it_is() -> None:
    assert full_form(RecommendationBody, {"unheard_of": 1}) == {"unheard_of": 1}


def test_what_requests_have_gained_is_recorded() -> None:
    """Fails where a request has a new field, form or value: mark it with `Since`, raise CONTRACT, and record it.

    What a released version has must stand under that version for good.
    """
    recorded: dict[str, list[str]] = json.loads(RECORDED.read_text())
    assert max(map(int, recorded)) == CONTRACT
    known = [name for names in recorded.values() for name in names]
    assert len(known) == len(set(known))
    assert sorted(known) == sorted(_known())


def _known() -> set[str]:
    """Every field of a request, and every value that a field must be one of."""
    found: set[str] = set()
    for body in (RecommendationBody, DistillationBody, ValidationBody):
        schema = body.model_json_schema()
        for model, part in {body.__name__: schema, **schema.get("$defs", {})}.items():
            found.update(f"{model}={value}" for value in part.get("enum", ()))
            for name, shape in part.get("properties", {}).items():
                found.add(f"{model}.{name}")
                found.update(f"{model}.{name}={value}" for value in _values(shape))
    return found


def _values(shape: object) -> set[object]:
    if isinstance(shape, list):
        return {value for part in cast("list[object]", shape) for value in _values(part)}
    if not isinstance(shape, dict):
        return set()
    parts = cast("dict[str, Any]", shape)
    own = {*parts.get("enum", ()), *([parts["const"]] if "const" in parts else [])}
    return own | _values([part for name, part in parts.items() if name in ("anyOf", "oneOf", "items")])


def test_a_request_with_a_retired_field_is_still_read() -> None:
    """Older clients send it, and jobs of older versions were stored with it."""
    body = RecommendationBody.model_validate({**NAMES, "eps": 0.05})
    assert body == RecommendationBody.model_validate(NAMES)
    assert "eps" not in body.model_dump()
