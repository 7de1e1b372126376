"""The result of a distillation, in the contract's terms."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from preceptor.contract.distillations import Accuracy, EpochMetrics, Gain
from preceptor.contract.teachers import TeacherBody

OnEvent = Callable[[str, dict[str, Any]], None]
"""`progress` with fraction, message, remaining_seconds; `epoch` with metrics; `weight` with the gate's choice."""
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Control:
    """One control.

    Attributes
    ----------
    accuracy
        Accuracy of the students trained with it.
    gain
        Gain of the teachers over it, paired by seed and test item.
    """

    accuracy: Accuracy
    gain: Gain

    def described(self) -> dict[str, Any]:
        """As JSON values."""
        return {"accuracy": self.accuracy.model_dump(), "gain": self.gain.model_dump()}


@dataclass(frozen=True)
class Outcome:
    """A finished distillation.

    Attributes
    ----------
    with_teacher, without_teacher, gain, verdict
        Accuracy on the test items, and the effect of the teachers.
    advice
        Advice to the user, in a sentence or two.
    weight, weights_tried
        Weight of the teachers' term; the score (mean log-likelihood of held-out labels) of each choice.
    test_items
        Number of test items.
    history
        Epochs of the delivered student's training.
    artifacts
        Files in the folder, by path.
    teacher
        Registration of the delivered student as a teacher.
    stages
        Seconds of each stage.
    settings
        Seeds, versions and digests to repeat the run; the controls too, as JSON values.
    controls
        By name, if `compare` is "full" and a teacher took part.
    """

    with_teacher: Accuracy
    without_teacher: Accuracy | None
    gain: Gain | None
    verdict: Literal["helped", "no clear effect", "hurt", "not compared"]
    advice: str
    weight: float
    weights_tried: dict[str, float]
    test_items: int
    history: list[EpochMetrics]
    artifacts: list[Path]
    teacher: TeacherBody
    stages: dict[str, float] = field(default_factory=dict[str, float])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    controls: dict[str, Control] = field(default_factory=dict[str, Control])
