"""An upgrade with running jobs: the service first, the workers after it; then every acknowledged job is looked at."""

import json
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis

from preceptor import Client
from preceptor.contract.jobs import JobStatus
from service.core.lanes import LANES
from service.core.redis import keys
from tests import digits_zoo

from .deployment import Deployment, until

_CLASSES: Final = [5, 6, 7, 8, 9]
_ZOO: Final = {
    "felines": ["lion", "tiger", "house cat"],
    "vehicles": ["truck", "jet plane", "bus"],
    "tools": ["hammer", "saw", "drill"],
}
_STUDENTS: Final = (["cat", "leopard"], ["airplane", "lorry"], ["screwdriver", "chisel"])
_TERMINAL: Final = {status.value for status in JobStatus if status.terminal}


@dataclass
class Report:
    """What was seen.

    Attributes
    ----------
    jobs
        Accepted jobs: id and when it was submitted.
    done_by
        Jobs that each worker has ended.
    resumed_at
        First epoch of the long distillation in the new worker, and the last one in the old.
    wrong
        What should not be.
    """

    jobs: dict[str, str] = field(default_factory=dict[str, str])
    done_by: Counter[str] = field(default_factory=Counter[str])
    resumed_at: tuple[int, int] | None = None
    wrong: list[str] = field(default_factory=list[str])


class Campaign:
    """One upgrade.

    Parameters
    ----------
    old, new
        Trees of code.
    epochs
        Of the distillation that must outlast the replacement of the service.
    """

    def __init__(self, deployment: Deployment, old: Path, new: Path, epochs: int) -> None:
        self._on = deployment
        self._old = old
        self._new = new
        self._epochs = epochs
        self.report = Report()

    def run(self) -> Report:
        """All steps.

        Raises
        ------
        AssertionError
            A step could not be done.
        """
        on = self._on
        on.start_service("old-service", self._old)
        for lane in LANES:
            on.start_worker(f"old-{lane}", self._old, lane)
        with Client(on.url) as client:
            made = self._prepare(client)
            long = self._distil(client, made, self._epochs, "the old service")
            self._recommend(client, made, "the old service")
            until(lambda: _epochs(on, long), "the distillation has not begun", 120)
        self._recommend_by_names("the old service, at its end", 12)
        self._ended("old-service")
        on.start_service("new-service", self._new)
        with Client(on.url) as client:
            self._recommend(client, made, "the new service, for old workers")
            until(lambda: self._waiting() == {long}, "old workers have not done what the new service took", 180)
            self._expect(client.jobs.get(long).status == JobStatus.RUNNING, "the distillation ended too soon")
            self._recommend_by_names("the new service, at the end of old workers", 6)
            for lane in LANES:
                self._ended(f"old-{lane}")
            before = _epochs(on, long)
            for lane in LANES:
                on.start_worker(f"new-{lane}", self._new, lane)
            self._recommend(client, made, "the new deployment", priority="high")
            self._distil(client, made, 30, "the new deployment")
            until(lambda: not self._waiting(), "jobs have not ended", 400)
            # Workers from before there were turns leave those of their jobs; whoever takes a later job removes them.
            self._recommend_by_names("the new deployment, as the last", 1, priority="low")
            until(lambda: not self._waiting(), "the last job has not ended", 60)
            after = _epochs(on, long)[len(before) :]
        if after:
            self.report.resumed_at = (after[0], before[-1])
        self._look_at_all()
        return self.report

    def _prepare(self, client: Client) -> dict[str, str]:
        folder = digits_zoo.write_teacher(self._on.folder, "all digits", list(range(10)))
        teacher = client.teachers.add_folder(folder)
        self.report.jobs[str(teacher.validation)] = "the old service"
        data = client.probes.upload(digits_zoo.probe(_CLASSES, 900, 1200, per_class=5), format="npz")
        test = client.probes.upload(digits_zoo.probe(_CLASSES, 1500, 1600), format="npz")
        return {"teacher": teacher.id, "data": data.id, "test": test.id}

    def _distil(self, client: Client, made: dict[str, str], epochs: int, when: str) -> str:
        job = client.distillations.create(
            made["data"],
            teachers=[made["teacher"]],
            test=made["test"],
            student="mlp",
            loss={"name": "transport", "weight": 1.0},
            training={"epochs": epochs, "batch_size": 8},
            compare=False,
        )
        self.report.jobs[job.id] = when
        return job.id

    def _recommend(self, client: Client, made: dict[str, str], when: str, **more: Any) -> None:
        job = client.recommendations.create(probe=made["data"], teachers=[made["teacher"]], **more)
        self.report.jobs[job.id] = when
        self._recommend_by_names(when, 3, **more)

    def _recommend_by_names(self, when: str, count: int, **more: Any) -> None:
        with Client(self._on.url) as client:
            for number in range(count):
                student = _STUDENTS[number % len(_STUDENTS)]
                job = client.recommendations.create(student, candidates=_ZOO, **more)
                self.report.jobs[job.id] = when

    def _ended(self, name: str) -> None:
        status = self._on.end(name)
        # uvicorn shuts down in order and then ends by the signal that it got.
        self._expect(status in (0, -signal.SIGTERM), f"{name} ended with {status}")

    def _waiting(self) -> set[str]:
        """Jobs without an end, as the store has it."""
        return {id for id in self.report.jobs if not (self._on.store / "jobs" / id / "outcome.json").exists()}

    def _look_at_all(self) -> None:
        for path in sorted(self._on.folder.glob("*.log")):
            self.report.done_by[path.stem] += len(self._on.logged(path.stem, "job done"))
        with Client(self._on.url) as client:
            listed = {job.id for job in client.jobs.list()}
            for id, when in self.report.jobs.items():
                self._expect(id in listed, f"{id} ({when}) is not listed")
                self._look_at(client, id, when)
        with redis.Redis.from_url(self._on.redis.url, decode_responses=True) as direct:
            for lane in LANES:
                for key in (keys.waiting, keys.leases, keys.delayed):
                    self._expect(not direct.exists(key(lane)), f"{key(lane)} is not empty")
                turns = list(direct.scan_iter(f"{keys.turns(lane)}*"))
                self._expect(not turns, f"{turns} are not empty")
            self._expect(not direct.exists(keys.ACTIVE), f"{keys.ACTIVE} is not empty")

    def _look_at(self, client: Client, id: str, when: str) -> None:
        job = client.jobs.get(id)
        self._expect(job.status == JobStatus.SUCCEEDED, f"{id} ({when}) is {job.status}: {job.error}")
        self._expect(job.result is not None, f"{id} ({when}) has no result")
        ends = [e.data["status"] for e in job.events() if e.event == "status" and e.data["status"] in _TERMINAL]
        self._expect(len(ends) == 1, f"{id} ({when}) ended as {ends}")
        folder = self._on.store / "jobs" / id
        results = [str(path.relative_to(folder)) for path in folder.glob("*/result.json")]
        outcome = json.loads((folder / "outcome.json").read_text())
        self._expect(results == [f"{outcome['fence']}/result.json"], f"{id} ({when}) has the results {results}")

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.report.wrong.append(otherwise)


def _epochs(on: Deployment, id: str) -> Sequence[int]:
    """Numbers of the epochs that the job has told of."""
    with redis.Redis.from_url(on.redis.url, decode_responses=True) as direct:
        entries: Any = direct.xrange(keys.events(id))
    return [json.loads(fields["d"])["epoch"] for _, fields in entries if fields["e"] == "epoch"]
