"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

import sys
from datetime import datetime, timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from .contract.jobs import JobEvent
from .core.files.transfer import Transfer
from .text import plain


def stderr_console() -> Console:
    """A console on stderr that takes no text for markup."""
    return Console(file=sys.stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


class JobDisplay:
    """Shows a job's events: call it with each. On a terminal one bar; elsewhere a line now and then.

    Both say what the job is doing and, where the job estimates it, how long it is likely to take.
    """

    _STEP = 0.1
    _EVERY = timedelta(seconds=30)
    """Elsewhere a line is printed at least so often while events come, so that a slow job is seen to move."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = title
        self._console = console or stderr_console()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._shown = -1.0
        self._printed: datetime | None = None

    def __enter__(self) -> "JobDisplay":
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=1.0)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: JobEvent) -> None:
        match event.event:
            case "status":
                self._say(str(event.data.get("status", "")), None)
            case "progress":
                fraction = event.data.get("fraction")
                message = str(event.data.get("message") or "")
                remaining = event.data.get("remaining_seconds")
                if isinstance(remaining, int | float) and remaining > 0:
                    message = f"{message}, {duration(remaining)} left".removeprefix(", ")
                self._say(message, fraction if isinstance(fraction, int | float) else None, at=event.at)
            case "epoch":
                self._say(epoch_line(event.data), None, line=False)
            case "log":
                self._print(str(event.data.get("message", "")))
            case _:
                pass

    def _say(self, message: str, fraction: float | None, *, line: bool = True, at: datetime | None = None) -> None:
        message = plain(message)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=message or self._title, completed=fraction)
        elif fraction is None and line:
            self._print(message)
        elif fraction is not None and (
            fraction >= self._shown + self._STEP or fraction >= 1 > self._shown or self._silent(at)
        ):
            self._shown, self._printed = fraction, at
            self._print(f"{fraction:4.0%} {message}".rstrip())

    def _silent(self, at: datetime | None) -> bool:
        """Whether nothing was printed for long, by the times of the events."""
        return at is not None and self._printed is not None and at - self._printed >= self._EVERY

    def _print(self, message: str) -> None:
        if self._bar is not None:
            self._bar.console.print(plain(message))
        else:
            self._console.print(f"{self._title}: {plain(message)}")


def duration(seconds: float) -> str:
    """A duration that was estimated, in words: no more digits than an estimate has."""
    if seconds < 55:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"about {minutes} min"
    return f"about {minutes // 60} h {minutes % 60} min" if minutes % 60 else f"about {minutes // 60} h"


def epoch_line(data: dict[str, object]) -> str:
    """One epoch in words."""
    parts = [f"epoch {data.get('epoch', '?')}"]
    if run := data.get("arm"):
        parts.insert(0, str(run))
    for name in ("loss", "accuracy"):
        value = data.get(name)
        if isinstance(value, int | float):
            parts.append(f"{name} {value:.3f}")
    return ", ".join(parts)


class TransferDisplay:
    """Shows files on their way: call it with each Transfer."""

    def __init__(self, verb: str, console: Console | None = None) -> None:
        self._verb = verb
        self._console = console or stderr_console()
        self._tasks: dict[str, TaskID] = {}
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=self._console,
            transient=True,
        )

    def __enter__(self) -> "TransferDisplay":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def __call__(self, transfer: Transfer) -> None:
        if not self._console.is_terminal:
            return
        if transfer.name not in self._tasks:
            self._tasks[transfer.name] = self._bar.add_task(
                f"{self._verb} {plain(transfer.name)}", total=transfer.total
            )
        self._bar.update(self._tasks[transfer.name], completed=transfer.done, total=transfer.total)
