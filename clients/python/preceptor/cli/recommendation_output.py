"""A recommendation as a person reads it."""

from rich.text import Text

from ..contract.recommendations import RankedTeacher, RecommendationResult, Timings
from ..text import plain
from .session import Session
from .tables import Justify, Listing, seconds, some

_METHODS = {
    "auto": "a blend of estimators over the probe",
    "label_transport": "transport between the label sets (no model was run)",
    "prediction_transport": "transport from the teachers' predictions on the probe",
    "alignment": "alignment of the teachers' predictions with the labels",
}


def show_ranking(session: Session, result: RecommendationResult, explain: int) -> None:
    """The ranked table, the reasons for the first `explain` teachers, and what stood in the way."""
    out = session.out
    how = _METHODS.get(result.method, result.method) + (f", {result.mode}" if result.mode else "")
    teachers = f"{result.considered} teacher{'' if result.considered == 1 else 's'}"
    better = "Higher score is better" if result.higher_is_better else "Lower cost is better"
    out.print(f"{teachers} for {len(result.student_labels)} classes, by {how}. {better}.")
    sure = any(entry.certainty for entry in result.ranking)
    score = "score" if result.higher_is_better else "cost"
    known = any(entry.expected_accuracy is not None for entry in result.ranking)
    certain: list[tuple[str, Justify]] = [("90 % interval", "right"), ("P(best)", "right")] if sure else []
    points: list[tuple[str, Justify]] = [("expected accuracy", "right")] if known else []
    made = Listing(
        ("rank", "right"),
        "teacher",
        "id",
        (score, "right"),
        *certain,
        *points,
        ("classes", "right"),
        ("uncovered", "right"),
        ("time", "right"),
        give_way=("time", "classes", "uncovered", "P(best)", "id") if sure else ("time", "id"),
    )
    for entry in result.ranking:
        cached = [name for name, hit in entry.cached.items() if hit]
        spent = seconds(entry.seconds) + (f" (cached: {', '.join(cached)})" if cached and not sure else "")
        made.row(
            entry.rank,
            entry.name,
            entry.teacher,
            f"{entry.cost if entry.score is None else entry.score:.4f}",
            *(_certainty(entry) if sure else ()),
            *((_points(entry),) if known else ()),
            entry.classes,
            f"{len(entry.uncovered)} of {len(result.student_labels)}",
            spent,
        )
    made.show(session)
    tied = [entry.name for entry in result.ranking if entry.certainty and entry.certainty.ties == 1]
    if len(tied) > 1:
        out.print(f"This probe cannot tell these apart: {plain(some(tied, 10) or '')}. More labelled items may.")
    if explain and len(result.team) > 1:
        out.print(
            f"A team of {plain(some([member.name for member in result.team], 10) or '')} would serve more classes."
        )
    for entry in result.ranking[:explain]:
        _show_plan(session, entry)
    if result.uncovered and not any(all(name in note for name in result.uncovered) for note in result.warnings):
        out.print(Text(f"No ranked teacher covers: {plain(some(result.uncovered, 30) or '')}", style="yellow"))
    if result.skipped:
        skipped = Listing("skipped teacher", "reason")
        for other in result.skipped:
            skipped.row(other.name, other.reason)
        skipped.show(session)
    for warning in result.warnings:
        out.print(Text(f"Note: {plain(warning)}", style="yellow"))
    show_timings(session, result.timings)


def _certainty(entry: RankedTeacher) -> tuple[str | None, str | None]:
    if entry.certainty is None:
        return None, None
    return f"{entry.certainty.low:.3f} to {entry.certainty.high:.3f}", f"{entry.certainty.best:.2f}"


def _points(entry: RankedTeacher) -> str | None:
    """The expected accuracy with its interval, in points; older workers say none."""
    if entry.expected_accuracy is None:
        return None
    if entry.expected_accuracy_low is None or entry.expected_accuracy_high is None:
        return f"{entry.expected_accuracy:.0f} %"
    return f"{entry.expected_accuracy:.0f} % ({entry.expected_accuracy_low:.0f} to {entry.expected_accuracy_high:.0f})"


def _show_plan(session: Session, entry: RankedTeacher) -> None:
    made = Listing(
        "class",
        ("mass", "right"),
        ("cost", "right"),
        "comes from (share of the class, cost)",
        title=f"Why {plain(entry.name)} (rank {entry.rank})",
        give_way=("mass",),
        room=60,
    )
    for part in entry.plan:
        sources = ", ".join(
            f"{source.label} ({source.mass / part.mass:.0%}, {source.cost:.3f})" if part.mass > 0 else source.label
            for source in part.sources
        )
        made.row(
            part.label,
            f"{part.mass:.3f}",
            f"{part.cost:.3f}",
            sources if part.covered else f"uncovered; nearest: {sources}",
        )
    made.show(session)


def show_timings(session: Session, timings: Timings) -> None:
    """Where the seconds went."""
    stages = ", ".join(f"{plain(name)} {seconds(value)}" for name, value in timings.stages.items() if value >= 0.001)
    queued = f"queued {seconds(timings.queued)}" + (f"; {stages}" if stages else "")
    session.out.print(f"Time: {seconds(timings.total)} ({queued})")
    used = {name: use for name, use in timings.caches.items() if use.hits + use.misses}
    caches = ", ".join(f"{plain(name)} {use.hits} of {use.hits + use.misses}" for name, use in used.items())
    if caches:
        session.out.print(f"Answered by a cache: {caches}")
