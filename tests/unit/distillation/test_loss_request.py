"""Losses in a request: told by name, transport where none stands, and every one of them can be run."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from preceptor.contract.distillations import DistillationBody
from preceptor.contract.losses import Loss, NoLoss, RelationalLoss, RidgeMapLoss, TransportLoss, UldLoss, WkdLoss
from worker.distillation.inputs import Recipe, described
from worker.distillation.losses import FAMILIES

LOSSES: TypeAdapter[Any] = TypeAdapter(Loss)
BODY = {"data": "prb_" + "0" * 26, "teachers": ["tch_" + "0" * 26]}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({}, TransportLoss()),
        ({"weight": 2.0}, TransportLoss(weight=2.0)),
        ({"ground_cost": "names", "eps": 0.1}, TransportLoss(ground_cost="names", eps=0.1)),
        ({"name": "transport"}, TransportLoss()),
        ({"name": "ridge_map", "use_names": False}, RidgeMapLoss(use_names=False)),
        ({"name": "relational", "temperature": 0.2}, RelationalLoss(temperature=0.2)),
        ({"name": "wkd"}, WkdLoss()),
        ({"name": "wkd", "kappa": 2, "eps": 0.1, "temperature": 2}, WkdLoss(kappa=2.0, eps=0.1, temperature=2.0)),
        ({"name": "uld", "weight": 1.0}, UldLoss(weight=1.0)),
        ({"name": "none"}, NoLoss()),
        (RidgeMapLoss(weight=1.0), RidgeMapLoss(weight=1.0)),
    ],
)
def test_a_loss_is_told_by_its_name(given: Any, meant: Any) -> None:
    found = LOSSES.validate_python(given)
    assert found == meant
    assert type(found) is type(meant)
    assert LOSSES.validate_python(described(found)) == meant


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "kl"}, "name is transport, ridge_map, mapped_kl, relational, features, "),
        ("transport", "name is transport, ridge_map, mapped_kl, relational, features, "),
        ({"name": "none", "weight": 1.0}, "Extra inputs"),
        ({"name": "uld", "eps": 0.1}, "Extra inputs"),
        ({"name": "wkd", "kappa": 0}, "greater than 0"),
        ({"name": "wkd", "eps": 0.001}, "greater than or equal to 0.005"),
        ({"name": "wkd", "temperature": 0}, "greater than 0"),
        ({"name": "wkd", "ground_cost": "names"}, "Extra inputs"),
        ({"name": "ridge_map", "weight": -1.0}, "greater than or equal to 0"),
    ],
)
def test_what_is_no_loss_is_refused(given: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        LOSSES.validate_python(given)


def test_schema_tells_the_losses_apart_by_name() -> None:
    """Only transport may go without a name: else `{}` would fit several forms."""
    schema = LOSSES.json_schema()
    needs = {name: "name" in form.get("required", []) for name, form in schema["$defs"].items()}
    assert needs == {
        "TransportLoss": False,
        "RidgeMapLoss": True,
        "MappedKlLoss": True,
        "RelationalLoss": True,
        "FeaturesLoss": True,
        "WkdLoss": True,
        "UldLoss": True,
        "NoLoss": True,
    }


def test_every_loss_of_a_request_can_be_run() -> None:
    names = {form["properties"]["name"]["const"] for form in LOSSES.json_schema()["$defs"].values()}
    assert names == set(FAMILIES)


def test_default_is_transport_with_a_plain_comparison() -> None:
    body = DistillationBody.model_validate(BODY)
    assert body.loss == TransportLoss()
    assert Recipe.of(body).compare is True


@pytest.mark.parametrize("compare", [True, False, "full"])
def test_compare_says_how_much(compare: Any) -> None:
    assert Recipe.of(DistillationBody.model_validate({**BODY, "compare": compare})).compare == compare


@pytest.mark.parametrize("compare", ["half", 1, None])
def test_compare_is_not_guessed(compare: Any) -> None:
    with pytest.raises(ValidationError):
        DistillationBody.model_validate({**BODY, "compare": compare})
