"""Reports the progress of a distillation, and checks when to stop."""

import threading
import time
from typing import Final

from preceptor.contract.distillations import EpochMetrics

from .result import OnEvent, ShouldStop
from .training.trainer import TrainingStopped

_EVERY_SECONDS: Final = 0.5


class Progress:
    """Counts the steps of all runs of a job.

    Parameters
    ----------
    on_event, should_stop
        As in `distill`.
    """

    def __init__(self, on_event: OnEvent, should_stop: ShouldStop) -> None:
        self._on_event, self._should_stop = on_event, should_stop
        self._total, self._done = 0, 0
        self._started = self._reported_at = time.perf_counter()
        self._message = ""
        self._arm = ""
        self._reports_epochs = False
        self._given_up = False
        self._lock = threading.RLock()

    def check(self) -> None:
        """Raise `TrainingStopped` if the job must end."""
        if self._given_up or self._should_stop():
            raise TrainingStopped("stopped")

    def give_up(self) -> None:
        """One of several runs failed: the others stop before their next step."""
        self._given_up = True

    def begin(self, message: str, *, arm: str, epochs: bool) -> None:
        """A run begins; `epochs` states whether its epochs are reported."""
        self._message, self._arm, self._reports_epochs = message, arm, epochs
        self._report()

    def say(self, message: str) -> None:
        """Report an activity outside of any run."""
        self.check()
        self._message = message
        self._report()

    def end(self) -> None:
        """The distillation is complete."""
        self._done = self._total = max(1, self._total)
        self._message = "done"
        self._report()

    def expect(self, steps: int) -> None:
        """Set the number of remaining steps."""
        self._total = self._done + steps

    def skip(self, steps: int) -> None:
        """Subtract steps that will not be taken."""
        with self._lock:
            self._total = max(self._done, self._total - steps)

    def step(self) -> None:
        """A step begins."""
        self.check()
        with self._lock:
            self._done += 1
            if time.perf_counter() - self._reported_at >= _EVERY_SECONDS:
                self._report()

    def epoch(self, metrics: EpochMetrics) -> None:
        """An epoch is done."""
        if self._reports_epochs:
            self.epoch_of(self._arm, metrics)

    def epoch_of(self, arm: str, metrics: EpochMetrics) -> None:
        """An epoch of an arm is done, with several arms trained together."""
        with self._lock:
            self._on_event("epoch", {"arm": arm, **metrics.model_dump(mode="json")})

    def _report(self) -> None:
        self._reported_at = time.perf_counter()
        fraction = min(1.0, self._done / self._total) if self._total else 0.0
        spent = self._reported_at - self._started
        remaining = (
            None if self._done < 5 or not self._total else round(spent / self._done * (self._total - self._done), 1)
        )
        self._on_event(
            "progress",
            {"fraction": round(fraction, 4), "message": self._message, "remaining_seconds": remaining},
        )


class RunWatch:
    """The watch of one of several runs at once.

    Parameters
    ----------
    arm
        Arm whose epochs are reported; None to report none.
    """

    def __init__(self, progress: Progress, arm: str | None) -> None:
        self._progress, self._arm = progress, arm

    def step(self) -> None:
        """See `Watch`."""
        self._progress.step()

    def skip(self, steps: int) -> None:
        """See `Watch`."""
        self._progress.skip(steps)

    def epoch(self, metrics: EpochMetrics) -> None:
        """See `Watch`."""
        if self._arm is not None:
            self._progress.epoch_of(self._arm, metrics)
