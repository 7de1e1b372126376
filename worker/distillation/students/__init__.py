"""The students, one file each. `BUILDERS` is the table: a new student is a new file, a row here, and its test."""

from collections.abc import Callable
from typing import Any, Final

from preceptor.contract.distillations import (
    BuiltinStudent,
    RegisteredStudent,
    StudentModel,
    TransformersStudent,
)
from worker.errors import ComputationFailed

from ..blueprint import Blueprint, Surroundings
from .bow import BowBlueprint
from .cnn import CnnBlueprint
from .mlp import MlpBlueprint
from .registered import registered_blueprint
from .timm_model import TimmBlueprint
from .transformers_model import fresh_blueprint

BUILDERS: Final[dict[str, Callable[[Surroundings, dict[str, Any]], Blueprint]]] = {
    "cnn": CnnBlueprint,
    "bow": BowBlueprint,
    "mlp": MlpBlueprint,
    "transformers": fresh_blueprint,
    "registered": registered_blueprint,
    "timm": TimmBlueprint,
}
_BY_MODALITY: Final = {"image": "cnn", "text": "bow", "features": "mlp"}


def blueprint_of(wanted: StudentModel, around: Surroundings) -> Blueprint:
    """The blueprint of a recipe's student.

    Raises
    ------
    ComputationFailed
        It takes another modality than the data has, or it cannot be built.
    """
    modality = around.items.modality
    if modality not in _BY_MODALITY:
        raise ComputationFailed(f"a student cannot be trained on items of modality {modality!r}")
    settings: dict[str, Any] = {}
    if isinstance(wanted, BuiltinStudent):
        key = _BY_MODALITY[modality] if wanted.name == "auto" else wanted.name
    elif isinstance(wanted, TransformersStudent):
        key, settings = "transformers", {"model_type": wanted.model_type, "config": wanted.config}
    elif isinstance(wanted, RegisteredStudent):
        key = "registered"
    else:
        key, settings = "timm", {"architecture": wanted.architecture}
    if isinstance(wanted, BuiltinStudent) and _BY_MODALITY[modality] != key:
        raise ComputationFailed(
            f"the student {key!r} does not take {modality} items; use {_BY_MODALITY[modality]!r} or 'auto'"
        )
    return BUILDERS[key](around, settings)


__all__ = ["BUILDERS", "Blueprint", "Surroundings", "blueprint_of"]
