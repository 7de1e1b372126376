"""``make demo``: the main job on real models. Fill a zoo, rank it for two students, distil the winners.

Everything runs locally: embedded Redis, the service, two workers. The demo downloads nothing and stops all processes.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal, TypeVar

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo_zoo.build import build
from preceptor import Client, PreceptorError
from preceptor.cli.distillation_output import show_verdict
from preceptor.cli.recommendation_output import show_ranking
from preceptor.cli.session import Session
from preceptor.contract.teachers import Modality, Teacher
from preceptor.resources.jobs import JobHandle
from service.cli.dev_stack import Stack, StackError
from service.core.settings import Settings

T = TypeVar("T")
_CELL: Final = 70
"""Characters of a cell with examples."""
_TEAM: Final = 3
"""Largest number of teachers; a team gained more than the first teacher (docs/research/distillation.md)."""
_STUDENTS: Final[dict[Modality, tuple[Literal["bow", "cnn"], int]]] = {"text": ("bow", 20), "image": ("cnn", 12)}
"""Built-in student and epochs by modality."""
_IDLE: Final = 600.0
"""Seconds without progress after which the demo cancels a job; a slow job with progress continues."""


class Demo:
    """One run of the demo.

    Parameters
    ----------
    folder
        Folder for the zoo and the service's data.
    seeds
        Repetitions of each distillation; the interval of the gain comes from them and from the test items.
    """

    def __init__(self, folder: Path, seeds: int) -> None:
        self._folder = folder
        self._seeds = seeds
        self._session = Session(None, None, as_json=False)
        self._seconds: dict[str, float] = {}

    def run(self) -> None:
        """The whole demo."""
        zoo = self._folder / "zoo"
        if not (zoo / "demo.json").is_file():
            self._say("Making a zoo of real teachers (once)")
            self._timed("making the zoo", lambda: build(zoo, self._say))
        plan: dict[str, Any] = json.loads((zoo / "demo.json").read_text())
        data = self._folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        settings = Settings(data=data, port=0, redis_url=None)
        stack = Stack(settings, logs=self._folder / "logs")
        self._say("Starting embedded Redis, the service and a worker on each lane")
        try:
            self._timed("starting the stack", stack.start)
            with Client(stack.url, timeout=120) as client:
                self._say(f"The service answers at {stack.url}")
                self._timed("registering and validating teachers", lambda: self._fill(client, zoo, plan["teachers"]))
                for task in plan["tasks"]:
                    self._student(client, zoo, task)
        except KeyboardInterrupt:
            self._say("Stopping the stack")
            raise
        finally:
            with _uninterrupted():
                self._timed("stopping", stack.stop)
        self._summary()

    def _fill(self, client: Client, zoo: Path, slugs: list[str]) -> None:
        def add(slug: str) -> Teacher:
            return client.teachers.add_folder(zoo / "teachers" / slug, timeout=_IDLE)

        with ThreadPoolExecutor(4) as pool:
            teachers = list(pool.map(add, slugs))
        made = Table(title=f"The zoo: {len(teachers)} teachers, each validated before it is ready")
        for column in ("teacher", "takes", "classes", "weights", "for example"):
            made.add_column(column, justify="right" if column in ("classes", "weights") else "left")
        for teacher in sorted(teachers, key=lambda t: (t.modality, t.name)):
            labels = teacher.labels or []
            weights = "" if teacher.parameters is None else f"{teacher.parameters:,}"
            made.add_row(teacher.name, teacher.modality, str(len(labels)), weights, _shortened(", ".join(labels[:3])))
        self._session.out.print(made)

    def _student(self, client: Client, zoo: Path, task: dict[str, Any]) -> None:
        out = self._session.out
        out.print()
        out.print(Panel(Text(task["story"]), title=Text(f"Student: {task['title']}"), title_align="left"))
        labelled = client.probes.upload(zoo / task["labelled"])
        transfer = client.probes.upload(zoo / task["unlabelled"])
        test = client.probes.upload(zoo / task["test"])
        out.print(f"{labelled.items} labelled items, {transfer.items} unlabelled, {test.items} to measure on.")

        out.print("\nFrom the class names only, without running a model:")
        names = client.recommendations.create(task["labels"], modality=task["modality"], top_k=5)
        show_ranking(self._session, self._timed(f"{task['slug']}: ranking by names", lambda: _result(names)), 0)

        out.print("\nWith the labelled items as a probe:")
        ranked = client.recommendations.create(probe=labelled, modality=task["modality"])
        result = self._timed(f"{task['slug']}: ranking with a probe", lambda: _result(ranked))
        show_ranking(self._session, result, 1)

        team = [member.name for member in result.team[:_TEAM]]
        whom = f"{team[0]!r} (rank 1)" if len(team) == 1 else f"the team of {', '.join(map(repr, team))}"
        out.print(f"\nDistilling from {whom}, {self._seeds} seeds with and without:")
        student, epochs = _STUDENTS[task["modality"]]
        job = client.distillations.create(
            data=labelled,
            transfer=transfer,
            test=test,
            recommendation=ranked,
            team=_TEAM,
            student=student,
            training={"epochs": epochs, "seeds": self._seeds},
            name=f"{task['slug']} student",
        )
        distilled = self._timed(f"{task['slug']}: distillation", lambda: _result(job, progress=True))
        show_verdict(self._session, distilled)

    def _timed(self, what: str, do: Callable[[], T]) -> T:
        begin = time.perf_counter()
        try:
            return do()
        finally:
            self._seconds[what] = time.perf_counter() - begin

    def _summary(self) -> None:
        made = Table(title="Where the seconds went")
        made.add_column("step")
        made.add_column("seconds", justify="right")
        for what, seconds in self._seconds.items():
            made.add_row(what, f"{seconds:.1f}")
        made.add_row("all", f"{sum(self._seconds.values()):.1f}")
        self._session.out.print()
        self._session.out.print(made)
        self._say("Next: `make up` leaves the stack running; README.md shows the same over HTTP, SDK and CLI.")

    def _say(self, text: str) -> None:
        self._session.out.print(text)


def _result(job: JobHandle[Any, T], *, progress: bool = False) -> T:
    """The result of a job; waits as long as the job makes progress. An interruption cancels the job."""
    try:
        return job.wait(progress=progress, idle_timeout=_IDLE)
    except KeyboardInterrupt:
        with _uninterrupted():
            job.cancel()
        raise


@contextmanager
def _uninterrupted() -> Generator[None]:
    """Ignore signals during cleanup."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _shortened(text: str) -> str:
    return text if len(text) <= _CELL else text[: _CELL - 1].rstrip() + "…"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="folder for the zoo and the data")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions of each distillation")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)  # All processes stop, whatever ends the demo.
    # One job at a time: each worker may use all cores.
    os.environ.setdefault("PRECEPTOR_THREADS", str(len(os.sched_getaffinity(0))))
    # Spinning threads slow each other down if other programs run, too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        Demo(arguments.folder, arguments.seeds).run()
    except (StackError, PreceptorError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
