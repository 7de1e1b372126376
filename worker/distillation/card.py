"""The model card: what the student is, how it was made, how good it is, how to make it again."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .export.artifacts import Delivered


def card(delivered: "Delivered", kind: str, onnx: dict[str, Any], parameters: int) -> str:
    """`README.md` of a student.

    Parameters
    ----------
    kind
        How it is registered: "transformers" or "onnx".
    onnx
        What the check of the ONNX file found.
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
        lines.append("`transformers.pipeline` loads this folder as it is.")
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
