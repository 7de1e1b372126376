"""The delivered student as files: weights, config, verified ONNX, metrics, model card, registration."""

import json
import logging
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import onnxruntime
import torch
from torch import nn

from preceptor.contract.distillations import Accuracy, EpochMetrics, Gain
from preceptor.contract.teachers import Source, TeacherBody
from worker.errors import ComputationFailed

from ..data import Inputs
from ..result import Control
from ..students import Blueprint
from ..tracking.tensorboard import NAME as EVENT_FILE, write_events
from .learning_curve import draw_curve

if TYPE_CHECKING:
    pass


def card(delivered: "Delivered", kind: str, onnx: dict[str, Any], parameters: int) -> str:
    """`README.md` of a student.

    Parameters
    ----------
    kind
        Kind of its registration: "transformers" or "onnx".
    onnx
        Result of the check of the ONNX file.
    parameters
        Number of trained weights.
    """
    settings = delivered.settings
    teachers = [
        f"- {teacher['name']} ({teacher['classes']} classes"
        + (f", `{teacher['id']}`" if teacher["id"] else "")
        + (f", digest `{teacher['digest'][:16]}`" if teacher["digest"] else "")
        + ")"
        for teacher in settings["teachers"]
    ]
    digests = [f"- {name}: `{value}`" for name, value in settings["data"]["digests"].items()]
    labels = ", ".join(delivered.labels[:50]) + (" ..." if len(delivered.labels) > 50 else "")
    parts = [
        f"# {delivered.name}",
        f"A classifier of {len(delivered.labels)} classes ({settings['student']['architecture']}, "
        f"{parameters:,} trained weights), distilled across label sets by Preceptor.",
        f"Classes: {labels}.",
        "## Did the teachers help?",
        delivered.advice,
        _table(delivered),
        "## Teachers",
        "\n".join(teachers) or "None.",
        f"Weight of the teachers' term: {delivered.weight:g}. {settings['gate']['reason']}",
        "## Data",
        f"{settings['data']['items']} labelled items, {settings['data']['transfer']} transfer items, "
        f"{delivered.test_items} test items (never trained on).",
        "\n".join(digests) or "No digests were given.",
        "## Use",
        _use(kind, onnx),
        "## Repeat",
        "The same seeds, versions, threads and device give the same weights on a CPU.",
        _repeat(delivered.request),
        "```json\n" + json.dumps({k: settings[k] for k in ("plan", "training", "versions")}, indent=2) + "\n```",
    ]
    return "\n\n".join(part for part in parts if part)


def _table(delivered: "Delivered") -> str:
    rows = ["| | accuracy | per seed |", "|---|---|---|"]
    arms = [("with teacher" if delivered.weight else "delivered, without teacher", delivered.accuracy)]
    if delivered.without is not None and delivered.weight:
        arms.append(("without teacher", delivered.without))
    for name, accuracy in arms:
        each = ", ".join(f"{value:.3f}" for value in accuracy.per_seed)
        rows.append(f"| {name} | {accuracy.mean:.3f} | {each} |")
    for name, control in delivered.controls.items():
        each = ", ".join(f"{value:.3f}" for value in control.accuracy.per_seed)
        rows.append(f"| {name}, no teacher | {control.accuracy.mean:.3f} | {each} |")
    if delivered.gain is not None:
        gain = delivered.gain
        rows.append(f"| gain | {gain.mean:+.3f} | 90 % interval {gain.low:+.3f} to {gain.high:+.3f} |")
    for name, control in delivered.controls.items():
        gain = control.gain
        rows.append(f"| gain over {name} | {gain.mean:+.3f} | 90 % interval {gain.low:+.3f} to {gain.high:+.3f} |")
    return "\n".join(rows)


def _use(kind: str, onnx: dict[str, Any]) -> str:
    lines: list[str] = []
    if kind == "transformers":
        lines.append("`transformers.pipeline` loads this folder unchanged.")
    if onnx.get("written"):
        lines.append(
            f"`model.onnx` gives `logits`; on {onnx['items']} real items it differs from torch by at most "
            f"{onnx['largest_difference']:.1e} of the largest logit."
        )
    else:
        lines.append(f"There is no ONNX file: {onnx.get('reason', 'it was not written')}.")
    lines.append("`teacher.json` is the registration that makes this student a teacher.")
    return " ".join(lines)


def _repeat(request: dict[str, Any]) -> str:
    if not request.get("data"):
        return ""
    body = json.dumps(request, indent=2, ensure_ascii=False)
    return (
        "```sh\ncurl -X POST \"$PRECEPTOR_URL/v1/distillations\" -H 'content-type: application/json' -d @- <<'BODY'\n"
        f"{body}\nBODY\n```"
    )


TOLERANCE: Final = 1e-3
"""Largest difference of a logit between torch and ONNX, relative to the largest logit."""


@dataclass(frozen=True)
class Delivered:
    """The description of a student that is written with it."""

    name: str
    labels: list[str]
    accuracy: Accuracy
    without: Accuracy | None
    gain: Gain | None
    verdict: Literal["helped", "no clear effect", "hurt", "not compared"]
    advice: str
    weight: float
    history: list[EpochMetrics]
    test_items: int
    settings: dict[str, Any]
    request: dict[str, Any]
    controls: dict[str, Control] = field(default_factory=dict[str, Control])
    curves: dict[str, list[EpochMetrics]] = field(default_factory=dict[str, list[EpochMetrics]])


@dataclass(frozen=True)
class OnnxCheck:
    """Comparison of the ONNX file with torch on real items."""

    items: int
    largest_difference: float
    same_answers: int


def export(
    blueprint: Blueprint, model: nn.Module, delivered: Delivered, samples: Inputs, folder: Path
) -> tuple[list[Path], TeacherBody]:
    """Write everything into a folder.

    Parameters
    ----------
    samples
        Inputs of real items, to compare ONNX with torch.

    Returns
    -------
    tuple
        The files, and the registration that makes the student a teacher (also in `teacher.json`).

    Raises
    ------
    ComputationFailed
        The student needs ONNX and cannot be exported to it.
    """
    model.eval()
    source = blueprint.save(model, folder, delivered.labels)
    onnx = _onnx(model, samples, folder / "model.onnx", needed=source.kind == "onnx")
    teacher = _registration(blueprint, source, delivered)
    metrics = {
        "accuracy": delivered.accuracy.model_dump(),
        "accuracy_without_teacher": None if delivered.without is None else delivered.without.model_dump(),
        "gain": None if delivered.gain is None else delivered.gain.model_dump(),
        "verdict": delivered.verdict,
        "test_items": delivered.test_items,
        "weight": delivered.weight,
        "onnx": onnx,
        "history": [metrics.model_dump() for metrics in delivered.history],
        "settings": delivered.settings,
        "request": delivered.request,
    }
    _write(folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False))
    _write(folder / "teacher.json", teacher.model_dump_json(indent=2, exclude_none=True))
    _write(folder / "README.md", card(delivered, source.kind, onnx, sum(p.numel() for p in model.parameters())))
    plain = delivered.curves.get("without teacher", []) if delivered.weight else []  # else it is the delivered student
    draw_curve(delivered.history, folder / "learning_curve.png", plain)
    write_events(delivered.curves, folder / EVENT_FILE, time.time())
    return sorted(path for path in folder.iterdir() if path.is_file()), teacher


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def _registration(blueprint: Blueprint, source: Source, delivered: Delivered) -> TeacherBody:
    return TeacherBody(
        name=delivered.name,
        source=source,
        modality=blueprint.modality,
        labels=delivered.labels,
        description=f"A {blueprint.name} student. {delivered.advice}"[:4000],
        tags=["distilled"],
        accuracy=delivered.accuracy.per_seed[0],
    )


def _onnx(model: nn.Module, samples: Inputs, path: Path, *, needed: bool) -> dict[str, Any]:
    try:
        write_onnx(model, samples, path)
        found = check_onnx(model, samples, path)
    except Exception as error:
        path.unlink(missing_ok=True)
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        if needed:
            raise ComputationFailed(f"the student could not be written as ONNX ({reason})") from error
        return {"written": False, "reason": reason}
    return {"written": True, **vars(found)}


def write_onnx(model: nn.Module, samples: Inputs, path: Path) -> None:
    """Write a model as one ONNX file with dynamic batch size and text length.

    Parameters
    ----------
    samples
        Inputs by name; the graph's inputs carry these names, its output is `logits`.
    """
    names = list(samples)
    shapes: dict[str, dict[int, Any]] = {}
    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=1)
    for name in names:
        shapes[name] = {0: batch}
        if samples[name].ndim == 2 and name in ("input_ids", "attention_mask", "token_type_ids"):
            shapes[name][1] = length
    # The exporter warns about operators of packages that are not installed, and about its own axis names.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.cpu(),
            kwargs={name: samples[name].cpu() for name in names},
            f=str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            opset_version=18,
            verbose=False,
        )


def check_onnx(model: nn.Module, samples: Inputs, path: Path) -> OnnxCheck:
    """Run the file on real items, one batch and then a single item, and compare with torch.

    Raises
    ------
    ValueError
        They differ by more than `TOLERANCE`.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst, same, items = 0.0, 0, 0
    for part in (slice(None), slice(0, 1)):
        inputs = {name: tensor[part].cpu() for name, tensor in samples.items()}
        with torch.no_grad():
            wanted = model(**inputs).float()
        given = torch.from_numpy(session.run(["logits"], {n: t.numpy() for n, t in inputs.items()})[0])
        scale = float(wanted.abs().max().clamp_min(1.0))
        worst = max(worst, float((wanted - given).abs().max()) / scale)
        if items == 0:
            items = len(wanted)
            same = int((wanted.argmax(1) == given.argmax(1)).sum())
    if not worst <= TOLERANCE:
        raise ValueError(f"ONNX and torch differ by {worst:.2e} of the largest logit")
    return OnnxCheck(items, worst, same)
