"""The information to repeat a run: seeds, versions, digests, and the request."""

import platform
from importlib import metadata
from typing import Any, Final

import torch

from .inputs import Recipe, TeacherSignal, TrainingData, described
from .schedule import Plan
from .students import Blueprint
from .teaching.gate import GateDecision

_PACKAGES: Final = ("preceptor-server", "torch", "transformers", "numpy", "onnx", "onnxruntime", "safetensors")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def settings_of(
    recipe: Recipe,
    data: TrainingData,
    teachers: list[TeacherSignal],
    blueprint: Blueprint,
    plan: Plan,
    gate: GateDecision,
    device: torch.device,
) -> dict[str, Any]:
    """The record of a run; plain JSON values."""
    loss = recipe.loss
    return {
        "student": {"architecture": blueprint.name, **recipe.student.model_dump(mode="json")},
        "loss": described(loss),
        "training": recipe.training.model_dump(mode="json"),
        "plan": {
            "steps": plan.steps,
            "steps_per_epoch": plan.steps_per_epoch,
            "batch_size": plan.batch_size,
            "learning_rate": plan.learning_rate,
            "schedule": plan.schedule,
            "optimiser": "AdamW",
        },
        "gate": {
            "weight": gate.weight,
            "reason": gate.reason,
            "advantage": gate.advantage,
            "at_full_weight": [teachers[number].name for number in sorted(gate.at_full_weight)],
            "gains": {f"{weight:g}": list(gain) for weight, gain in gate.gains.items()},
        },
        "data": {
            "items": data.items.items,
            "transfer": 0 if data.transfer is None else data.transfer.items,
            "test": "held out of the items" if data.test is None else data.test.items,
            "digests": dict(data.digests),
        },
        "teachers": [
            {"id": teacher.id, "name": teacher.name, "classes": len(teacher.labels), "digest": teacher.digest}
            for teacher in teachers
        ],
        "device": str(device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def repeating_request(recipe: Recipe, data: dict[str, Any], teachers: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of `POST /v1/distillations` that repeats a run, as far as ids are known."""
    digests: dict[str, str] = data["digests"]
    loss = recipe.loss
    body: dict[str, Any] = {
        "teachers": [teacher["id"] for teacher in teachers],
        **{name: digests[name] for name in ("data", "transfer", "test") if name in digests},
        "student": recipe.student.model_dump(mode="json"),
        "loss": described(loss),
        "training": recipe.training.model_dump(mode="json"),
        "compare": recipe.compare,
        "name": recipe.name,
    }
    return body
