"""A distillation as a person reads it."""

from rich.text import Text

from ..contract.distillations import Accuracy, DistillationResult
from ..text import plain
from .recommendation_output import show_timings
from .session import Session
from .tables import facts, gain_line, size, some

_STYLE = {"helped": "green", "hurt": "red"}


def show_verdict(session: Session, result: DistillationResult) -> None:
    """Accuracy with and without the teacher, the gain, and what came out."""
    facts(
        session,
        [
            ("student", result.student),
            ("teachers", some(_teachers(result))),
            ("test items", result.test_items),
            ("accuracy with teacher", _accuracy(result.with_teacher)),
            ("accuracy without", _accuracy(result.without_teacher) if result.without_teacher else "not measured"),
            ("gain", gain_line(result.gain)),
            ("weight of the teacher", f"{result.weight:g}"),
            ("artifacts", some([f"{file.name} ({size(file.size)})" for file in result.artifacts])),
        ],
    )
    verdict = f"Verdict: {result.verdict}. {plain(result.advice)}".rstrip()
    session.out.print(Text(verdict, style=_STYLE.get(result.verdict, "yellow")))
    for warning in result.warnings:
        session.out.print(Text(f"Warning: {plain(warning)}", style="yellow"))
    show_timings(session, result.timings)


def _teachers(result: DistillationResult) -> list[str]:
    """Names where the record of the run has them: an id alone tells a person nothing."""
    recorded = result.settings.get("teachers") or []
    names = {
        entry["id"]: entry["name"] for entry in recorded if isinstance(entry, dict) and {"id", "name"} <= set(entry)
    }
    return [f"{names[each]} ({each})" if each in names else each for each in result.teachers]


def _accuracy(accuracy: Accuracy) -> str:
    seeds = len(accuracy.per_seed)
    if seeds < 2:
        return f"{accuracy.mean:.4f}"
    low, high = min(accuracy.per_seed), max(accuracy.per_seed)
    return f"{accuracy.mean:.4f} (mean of {seeds} seeds, {low:.4f} to {high:.4f})"
