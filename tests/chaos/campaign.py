"""One campaign: a calm run for what is right, then fire, then a look at what is left."""

import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import flood, invariants
from .deployment import Deployment
from .faults import FAULTS
from .load import Load, poison, prepare


@dataclass(frozen=True)
class Plan:
    """How long and how hard.

    Attributes
    ----------
    seconds
        Of fire.
    between
        Seconds between two faults, on average.
    pause
        Seconds between two requests of one caller, on average.
    killers
        Jobs that kill their worker.
    """

    seconds: float
    between: float
    pause: float
    workers: tuple[int, int]
    callers: int
    killers: int
    delivery_limit: int
    settle_seconds: float
    seed: int


@dataclass
class Report:
    """What was done and what came of it."""

    faults: Counter[str] = field(default_factory=Counter)
    not_possible: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    jobs: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    starts: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every invariant does."""
        return not any(self.found.values())

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "faults": dict(self.faults),
            "not_possible_here": dict(self.not_possible),
            "kills": self.kills,
            "jobs": dict(sorted(self.jobs.items())),
            "jobs_in_all": sum(self.jobs.values()),
            "requests_repeated": self.repeats,
            "processes_started": self.starts,
            "seconds": self.seconds,
            "invariants": invariants.described(self.found),
            "holds": self.holds,
        }


def run(plan: Plan, keep: Path | None = None) -> Report:
    """Run a campaign.

    Parameters
    ----------
    keep
        Where to copy the logs to when an invariant does not hold.
    """
    folder = Path(tempfile.mkdtemp(prefix="preceptor-chaos-"))
    deployment = Deployment(folder, plan.workers, plan.delivery_limit)
    report = Report()
    try:
        _campaign(plan, deployment, report)
    finally:
        deployment.volume.close()
        if keep is not None and not report.holds:
            shutil.copytree(folder / "logs", keep, dirs_exist_ok=True)
            if deployment.saves.exists():
                shutil.copy(deployment.saves, keep)
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _campaign(plan: Plan, deployment: Deployment, report: Report) -> None:
    rng = random.Random(plan.seed)
    started = time.monotonic()
    deployment.start()
    try:
        load = Load(deployment.url, prepare(deployment.url, deployment.folder / "teachers"))
        _learn(load)
        report.seconds["calm"] = round(time.monotonic() - started, 1)
        started = time.monotonic()
        waiting = _burn(plan, deployment, load, rng, report)
        report.seconds["fire and settling"] = round(time.monotonic() - started, 1)
        report.found["the service answered as it should"] = load.complaints
        report.found["every acknowledged job ended exactly once"] = invariants.every_job_ended_once(load, waiting)
        if not waiting:
            report.found["each event log has one end, the last event"] = invariants.every_log_has_one_end(load)
        report.found["results equal those of a calm run"] = invariants.results_are_those_of_a_calm_run(load)
        report.found["no checkpoint of a stale worker"] = invariants.no_stale_checkpoint(deployment)
        report.found["no leaked key"] = invariants.no_leaked_key(deployment)
        report.found["no leaked file in the store"] = invariants.no_leaked_file(deployment)
        report.jobs = Counter(
            f"{job.kind.name.rstrip(' 0123456789')}: {job.seen[0] if job.seen else 'no end'}"
            for job in load.accepted.values()
        )
        report.repeats = load.repeats
        report.found["a job of milliseconds waits at most 2 s behind the work of others"] = (
            flood.quick_jobs_wait_little(deployment)
        )
    finally:
        ended = deployment.stop()
        report.starts = deployment.starts
    report.found["all processes end when asked"] = [
        # uvicorn shuts down in order and then ends by the signal that it was sent.
        f"{name} ended with {status}"
        for name, status in ended.items()
        if status not in ((0, -signal.SIGTERM) if name == "service" else (0,))
    ]
    report.found["no temporary file"] = invariants.nothing_temporary(deployment)
    report.found["no leaked process or socket"] = invariants.no_leaked_process(deployment)


def _learn(load: Load) -> None:
    """Run each kind once, undisturbed."""
    deadline = time.monotonic() + 120
    for kind in load.kinds:
        if not kind.cancel:
            load.submit(kind, deadline)
    waiting = load.watch(deadline)
    assert not waiting, f"did not end in calm: {waiting}"
    for job in load.accepted.values():
        assert job.seen is not None
        assert job.seen[0] == "succeeded", f"failed in calm: {job}"
        load.expected[job.kind.name] = job.seen[1]


def _burn(plan: Plan, deployment: Deployment, load: Load, rng: random.Random, report: Report) -> list[Any]:
    """Jobs and faults, then an end to both, and time to settle. The jobs that have no end then."""
    end = time.monotonic() + plan.seconds
    calls_end = end + 20
    callers = [
        threading.Thread(target=load.submit_until, args=(end, random.Random(plan.seed + number), plan.pause))
        for number in range(plan.callers)
    ]
    over = threading.Event()
    left: list[Any] = []
    watcher = threading.Thread(target=lambda: left.extend(load.watch(end + plan.settle_seconds, over)))
    for thread in (*callers, watcher):
        thread.start()
    killers = [plan.seconds * (number + 0.3) / max(plan.killers, 1) for number in range(plan.killers)]
    begun = time.monotonic()
    while time.monotonic() < end:
        time.sleep(rng.uniform(0.5, 1.5) * plan.between)
        if killers and time.monotonic() - begun > killers[0]:
            killers.pop(0)
            load.submit(poison(), calls_end)
        fault = rng.choices(FAULTS, [fault.weight for fault in FAULTS])[0]
        deployment.note(f"{fault.name} begins")
        done = fault.run(deployment, rng)
        deployment.note(f"{fault.name} {'is over' if done else 'was not possible'}")
        if done:
            report.faults[fault.name] += 1
            report.kills += fault.kills
        else:
            report.not_possible[fault.name] += 1
    for thread in callers:
        thread.join()
    deployment.wait_ready()
    over.set()
    watcher.join()
    return left
