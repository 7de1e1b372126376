"""The dictionaries for type checkers have the fields and values of the contract's models."""

from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from preceptor import options
from preceptor.contract import distillations, losses, recommendations, training

MODELS: dict[type, type[BaseModel]] = {
    options.TrainingOptions: training.Training,
    options.EarlyStoppingOptions: training.EarlyStopping,
    options.PairCostOptions: recommendations.PairCost,
    options.EpochData: distillations.EpochMetrics,
    **{
        getattr(options, f"{name}Options"): getattr(losses, name)
        for name in (
            "TransportLoss", "RidgeMapLoss", "MappedKlLoss", "RelationalLoss", "FeaturesLoss", "WkdLoss", "UldLoss",
            "NoLoss",
        )
    },
    **{
        getattr(options, f"{name}Options"): getattr(distillations, name)
        for name in ("BuiltinStudent", "TransformersStudent", "TimmStudent", "RegisteredStudent")
    },
}  # fmt: skip
ONLY_IN_EVENTS = {"arm"}


def choices(annotation: Any) -> set[str]:
    """The texts that a type admits."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {text for part in get_args(annotation) for text in choices(part)}


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_a_dictionary_has_the_fields_of_its_model(kind: type) -> None:
    model, hints = MODELS[kind], get_type_hints(kind)
    assert set(hints) - ONLY_IN_EVENTS == set(model.model_fields)
    for name, field in model.model_fields.items():
        assert choices(hints[name]) == choices(field.annotation), name


def test_the_required_keys_are_those_that_a_request_needs() -> None:
    assert options.RidgeMapLossOptions.__required_keys__ == {"name"}
    assert options.TransportLossOptions.__required_keys__ == frozenset()
    assert options.TransformersStudentOptions.__required_keys__ == {"kind", "model_type"}


def test_every_loss_and_student_has_a_dictionary() -> None:
    named = {kind.__name__.removesuffix("Options") for kind in (*get_args(options.LossOptions),)}
    [union, _] = get_args(losses.Loss)
    assert named == {get_args(part)[0].__name__ for part in get_args(union)}
    students = {kind.__name__.removesuffix("Options") for kind in get_args(options.StudentOptions)}
    [union, _] = get_args(distillations.StudentModel)
    assert students == {part.__name__ for part in get_args(union)}
