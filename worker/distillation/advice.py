"""Advice to the user on the measured gain, in a sentence or two. "Do not distil" is one of the results."""

from collections.abc import Mapping

from preceptor.contract.distillations import Accuracy

from .evaluation.statistics import Interval
from .result import Control
from .teaching.gate import GateDecision


def advice_of(
    gate: GateDecision,
    gain: Interval | None,
    accuracy: Accuracy,
    items: int,
    teachers: int,
    controls: Mapping[str, Control],
) -> str:
    """The advice for one finished distillation.

    Parameters
    ----------
    gate
        The gate's choice.
    gain
        None without a comparison.
    accuracy
        Of the delivered arm.
    items
        Test items.
    teachers
        Number of teachers.
    controls
        The trained controls, by name.
    """
    who = "the teacher" if teachers == 1 else "the teachers"
    if teachers == 0 or (gate.weight == 0 and gate.given):
        return f"No teacher took part: the student reaches {accuracy.mean:.1%} on {items} test items."
    if gate.weight == 0:
        return (
            f"Do not distil from {who}: {gate.reason}. The student was trained without, and reaches "
            f"{accuracy.mean:.1%} on {items} test items. Try teachers with nearer classes, or more labelled items."
        )
    chosen = f"{gate.reason[0].upper()}{gate.reason[1:]}."
    if gain is None:
        return f"{chosen} Whether {who} helped was not measured; request a comparison to measure it."
    interval = f"{gain.mean:+.1%} accuracy, 90 % interval {gain.low:+.1%} to {gain.high:+.1%} on {items} test items"
    equals = [name for name, control in controls.items() if control.gain.low <= 0]
    if gain.low > 0 and equals:
        return (
            f"Distilling helped: {interval}. But {' and '.join(equals)} may do as well without a teacher: the gain "
            f"over it is not clear of 0. {chosen}"
        )
    if gain.low > 0:
        return f"Distilling helped: {interval}. {chosen}"
    if gain.high < 0:
        return f"Distilling hurt: {interval}. Train without {who}, or choose others."
    more = " Test items are few: more of them would narrow the interval." if items < 500 else ""
    return f"No clear effect: {interval}.{more}"
