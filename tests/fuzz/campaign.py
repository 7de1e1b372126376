"""Runs parsers in child processes, batch by batch, and counts how their inputs ended."""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from service.state.embedded import EmbeddedRedis

from . import measure
from .parsers import ENTRIES

BAD: Final = ("crash", "hang", "memory", "left", "5xx")
_START_SECONDS: Final = 180.0
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass
class Finding:
    """Inputs that broke an invariant in the same way.

    Attributes
    ----------
    cases
        The numbers of the first of them: `--parser NAME --seed SEED --case NUMBER` repeats one.
    """

    parser: str
    outcome: str
    signature: str
    detail: str
    seed: int
    cases: list[int] = field(default_factory=list[int])
    count: int = 0


@dataclass
class Row:
    """The counts of one parser."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    seconds: float = 0.0
    slowest: float = 0.0
    largest: int = 0
    next_case: int = 0

    @property
    def inputs(self) -> int:
        """How many inputs were tried."""
        return sum(self.outcomes.values())


@dataclass(frozen=True)
class Plan:
    """How long and hard.

    Attributes
    ----------
    seconds
        For all parsers together; the batches under way are ended then.
    batch_seconds
        How long one process is used.
    most
        Most cases of each parser.
    processes
        Processes at a time.
    hang_cpu, hang_wall
        Seconds after which an input counts as a hang: of the processor, and of the clock.
    """

    seconds: float
    seed: int = 1
    parsers: Sequence[str] = ()
    batch_seconds: float = 20.0
    most: int = 10**9
    first: int = 0
    processes: int = 1
    hang_cpu: float = 10.0
    hang_wall: float = 90.0


class Campaign:
    """One run over some parsers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rows = {name: Row() for name in plan.parsers}
        self.findings: dict[tuple[str, str, str], Finding] = {}
        self._lock = threading.Lock()

    @property
    def holds(self) -> bool:
        """Whether every input ended as it must."""
        return not self.findings

    def run(self) -> None:
        """Try inputs until the time is over."""
        with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
            work = Path(name)
            (work / "seeds").mkdir()
            waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
            for parser in self.rows:
                self.rows[parser].next_case = self.plan.first
                waiting.put(parser)
            deadline = time.monotonic() + self.plan.seconds
            try:
                with ThreadPoolExecutor(self.plan.processes) as pool:
                    for done in [pool.submit(self._serve, waiting, work, deadline) for _ in range(self.plan.processes)]:
                        done.result()
            finally:
                for path in work.glob("*/redis/redis.pid"):  # of processes that could not stop theirs
                    EmbeddedRedis(path.parent).stop()

    def _serve(self, waiting: "queue.SimpleQueue[str]", work: Path, deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            if self._batch(name, work, deadline):
                waiting.put(name)

    def _batch(self, name: str, work: Path, deadline: float) -> bool:
        """One process; False where nothing is left to try."""
        row = self.rows[name]
        left = self.plan.first + self.plan.most - row.next_case
        seconds = min(self.plan.batch_seconds * ENTRIES[name].weight, deadline - time.monotonic())
        if left <= 0 or seconds <= 0:
            return False
        began = time.monotonic()
        child = self._start(name, work, row.next_case, left, seconds)
        self._follow(name, child, work)
        row.seconds += time.monotonic() - began
        return True

    def _start(
        self, name: str, work: Path, first: int, count: int, seconds: float, *, contained: bool = False
    ) -> subprocess.Popen[bytes]:
        options: dict[str, object] = {"parser": name, "module": ENTRIES[name].module, "seed": self.plan.seed}
        options |= {"first": first, "count": count, "seconds": seconds}
        command = [sys.executable, "-m", "tests.fuzz.child", "--work", str(work)]
        command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
        errors = work / f"errors-{threading.get_ident()}"
        with errors.open("wb") as file:
            return subprocess.Popen(
                [*command, "--contained"] if contained else command,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=_ROOT,
                env=_environment(work),
                start_new_session=True,
            )

    def _follow(self, name: str, child: subprocess.Popen[bytes], work: Path) -> None:
        row = self.rows[name]
        under_way: int | None = None
        ready = False
        grace = 0.0
        try:
            for message in self._messages(child):
                if message is None:
                    if not ready:
                        raise RuntimeError(f"the parser {name!r} did not start in {_START_SECONDS:g} seconds")
                    if under_way is not None:
                        self._ended(name, under_way, "hang", "hang", "did not end in time", work)
                        row.next_case = under_way + 1
                    return
                ready = ready or "ready" in message
                if "begin" in message:
                    under_way = message["begin"]
                elif "end" in message:
                    under_way = None
                    row.next_case = message["end"] + 1
                    self._count(name, message)
            grace = 60.0  # it said all, and is ending
        finally:
            _kill(child, grace)
        if under_way is not None:
            code = child.returncode
            how = signal.Signals(-code).name if code < 0 else f"status {code}"
            row.next_case = under_way + 1
            self._ended(name, under_way, "crash", f"the process ended: {how}", _tail(work), work)
        elif not ready or child.returncode != 0:
            raise RuntimeError(f"the campaign itself failed in {name!r}: {_tail(work)}")

    def _messages(self, child: subprocess.Popen[bytes]) -> Iterator[dict[str, Any] | None]:
        """The child's messages; None where it is stuck."""
        assert child.stdout is not None
        buffer = b""
        cpu, wall, limit_cpu, limit_wall = 0.0, time.monotonic(), _START_SECONDS, _START_SECONDS
        while True:
            if select.select([child.stdout], [], [], 0.5)[0]:
                data = os.read(child.stdout.fileno(), 2**16)
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    yield message
                if lines:
                    limit_cpu, limit_wall = self.plan.hang_cpu, self.plan.hang_wall
                    cpu, wall = measure.cpu_seconds(child.pid), time.monotonic()
            elif measure.cpu_seconds(child.pid) - cpu > limit_cpu or time.monotonic() - wall > limit_wall:
                yield None
                return

    def _count(self, name: str, message: dict[str, Any]) -> None:
        row = self.rows[name]
        row.slowest = max(row.slowest, message["cpu"])
        row.largest = max(row.largest, message["grown"])
        outcome = message["outcome"]
        if outcome in BAD:
            self._note(name, message["end"], outcome, message["signature"], message["detail"])
        else:
            row.outcomes[outcome] += 1

    def _ended(self, name: str, number: int, outcome: str, signature: str, detail: str, work: Path) -> None:
        """An input took its process with it, which is well where the product gives it a process of its own."""
        if ENTRIES[name].contained:
            child = self._start(name, work, number, 1, 120.0, contained=True)
            try:
                answers = [message for message in self._messages(child) if message is None or "end" in message]
            finally:
                _kill(child, 0.0)
            if answers and answers[0] is not None and answers[0]["outcome"] not in BAD:
                self.rows[name].outcomes["contained"] += 1
                return
        self._note(name, number, outcome, signature, detail)

    def _note(self, name: str, number: int, outcome: str, signature: str, detail: str) -> None:
        with self._lock:
            self.rows[name].outcomes[outcome] += 1
            key = (name, outcome, signature)
            found = self.findings.setdefault(key, Finding(name, outcome, signature, detail, self.plan.seed))
            found.count += 1
            if len(found.cases) < 3:
                found.cases.append(number)


def _environment(work: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "REDIS_URL" and not key.startswith("PRECEPTOR_")}
    return kept | {
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "TMPDIR": str(work),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONHASHSEED": "0",
        "PYTHONFAULTHANDLER": "1",
    }


def _kill(child: subprocess.Popen[bytes], grace: float) -> None:
    if child.poll() is None:
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _tail(work: Path) -> str:
    path = work / f"errors-{threading.get_ident()}"
    return path.read_text(errors="replace")[-2000:] if path.exists() else ""
