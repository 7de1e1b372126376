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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from service.core.redis.embedded import EmbeddedRedis

from . import measure
from .corpus import kept
from .parsers import ENTRIES

BAD: Final = ("crash", "hang", "memory", "left", "leak", "5xx")
_START_SECONDS: Final = 240.0
_HELD: Final = 256 * 2**20
_OPEN: Final = 64
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
    stages: Counter[str] = field(default_factory=Counter[str])

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
        How long one process is used for each of its parsers, times the parser's weight.
    most
        Most cases of each parser.
    processes
        Processes at a time.
    kept
        Try the inputs of the corpus and no others.
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
    kept: bool = False
    hang_cpu: float = 10.0
    hang_wall: float = 90.0


class Campaign:
    """One run over some parsers.

    Attributes
    ----------
    after_batch
        Called when a process has ended: partial results can be written.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rows = {name: Row(next_case=plan.first) for name in plan.parsers}
        self.findings: dict[tuple[str, str, str], Finding] = {}
        self.after_batch: Callable[[], None] | None = None
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
            waiting: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
            # Parsers of one module share a process: its libraries take seconds to load.
            for module in dict.fromkeys(ENTRIES[parser].module for parser in self.rows):
                waiting.put([parser for parser in self.rows if ENTRIES[parser].module == module])
            deadline = time.monotonic() + self.plan.seconds
            try:
                with ThreadPoolExecutor(self.plan.processes) as pool:
                    for done in [pool.submit(self._serve, waiting, work, deadline) for _ in range(self.plan.processes)]:
                        done.result()
            finally:
                for path in work.glob("*/redis/redis.pid"):  # of processes that could not stop theirs
                    EmbeddedRedis(path.parent).stop()

    def _serve(self, waiting: "queue.SimpleQueue[list[str]]", work: Path, deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                names = waiting.get_nowait()
            except queue.Empty:
                return
            self._batch(names, work, deadline)
            if self.after_batch is not None:
                with self._lock:
                    self.after_batch()
            if any(self._left(name) for name in names):
                waiting.put(names)

    def _left(self, name: str) -> int:
        most = len(kept(name)) if self.plan.kept else self.plan.most
        return max(self.plan.first + most - self.rows[name].next_case, 0)

    def _batch(self, names: list[str], work: Path, deadline: float) -> None:
        """Each of the parsers once, in as few processes as can be: one that ends early leaves the rest to another."""
        # A parser that ends its process often must not take the time of the others.
        until = {name: self.rows[name].seconds + self.plan.batch_seconds * ENTRIES[name].weight for name in names}
        waiting = names
        while time.monotonic() < deadline:
            waiting = [name for name in waiting if self._left(name) and self.rows[name].seconds < until[name]]
            if not waiting:
                return
            parts = [self._part(name, self.rows[name].next_case, self._left(name)) for name in waiting]
            for part, name in zip(parts, waiting, strict=True):
                part["seconds"] = until[name] - self.rows[name].seconds
            child = self._start(parts, work)
            done = self._follow(waiting, child, work, deadline)
            waiting = waiting[done:]

    def _part(self, name: str, first: int, count: int) -> dict[str, object]:
        seconds = self.plan.batch_seconds * ENTRIES[name].weight
        return {"parser": name, "module": ENTRIES[name].module, "first": first, "count": count, "seconds": seconds}

    def _start(self, parts: list[dict[str, object]], work: Path, *, contained: bool = False) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.fuzz.child", "--work", str(work), "--seed", str(self.plan.seed)]
        command += ["--parts", json.dumps(parts)]
        command += ["--contained"] * contained + ["--kept"] * self.plan.kept
        errors = work / f"errors-{threading.get_ident()}"
        with errors.open("wb") as file:
            return subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=_ROOT,
                env=_environment(work),
                start_new_session=True,
            )

    def _follow(self, names: list[str], child: subprocess.Popen[bytes], work: Path, deadline: float) -> int:
        """Count what a process says; how many of its parsers are done with."""
        name, done, under_way = names[0], 0, None
        since = time.monotonic()
        stuck = late = False
        grace = 0.0
        try:
            for message in self._messages(child):
                if stuck := message is None:
                    break
                if "ready" in message:
                    name = message["ready"]
                elif "begin" in message:
                    under_way = message["begin"]
                elif "end" in message:
                    under_way = None
                    self.rows[name].next_case = message["end"] + 1
                    self._count(name, message)
                else:
                    done += 1
                    self._check_held(name, message)
                self.rows[name].seconds += time.monotonic() - since
                since = time.monotonic()
                if late := since > deadline:
                    break
            else:
                grace = 60.0  # it said all, and is ending
        finally:
            _kill(child, grace)
        if late:
            return len(names)
        if under_way is not None:
            code = child.returncode
            how = signal.Signals(-code).name if code < 0 else f"status {code}"
            self.rows[name].next_case = under_way + 1
            end = ("hang", "hang", "did not end in time")
            self._ended(name, under_way, *(end if stuck else ("crash", f"the process ended: {how}", _tail(work))), work)
        elif stuck or child.returncode != 0:
            raise RuntimeError(f"the campaign itself failed in {name!r}: {_tail(work)}")
        return done

    def _check_held(self, name: str, message: dict[str, Any]) -> None:
        """What a parser keeps of many inputs together: memory, open files."""
        if message["held"] > _HELD or message["open"] > _OPEN:
            detail = f"after a batch: {message['held']:,} bytes resident, {message['open']} descriptors more"
            self._note(name, self.rows[name].next_case - 1, "leak", "leak", detail)

    def _messages(self, child: subprocess.Popen[bytes]) -> Iterator[dict[str, Any] | None]:
        """The child's messages; None where it is stuck."""
        assert child.stdout is not None
        buffer, loading = b"", True
        cpu, wall, limit_cpu, limit_wall = 0.0, time.monotonic(), _START_SECONDS, _START_SECONDS
        while True:
            if select.select([child.stdout], [], [], 0.5)[0]:
                data = os.read(child.stdout.fileno(), 2**16)
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    loading = "held" in message  # the libraries of the next parser come now
                    yield message
                if lines:
                    limit_cpu = _START_SECONDS if loading else self.plan.hang_cpu
                    limit_wall = _START_SECONDS if loading else self.plan.hang_wall
                    cpu, wall = measure.cpu_seconds(child.pid), time.monotonic()
            elif measure.cpu_seconds(child.pid) - cpu > limit_cpu or time.monotonic() - wall > limit_wall:
                yield None
                return

    def _count(self, name: str, message: dict[str, Any]) -> None:
        row = self.rows[name]
        row.slowest = max(row.slowest, message["cpu"])
        row.largest = max(row.largest, message["grown"])
        outcome = message["outcome"]
        if stage := message.get("stage"):
            row.stages[stage] += 1
        if outcome in BAD:
            self._note(name, message["end"], outcome, message["signature"], message["detail"])
        else:
            row.outcomes[outcome] += 1

    def _ended(self, name: str, number: int, outcome: str, signature: str, detail: str, work: Path) -> None:
        """An input took its process with it, which is well where the product gives it a process of its own."""
        if ENTRIES[name].contained:
            child = self._start([self._part(name, number, 1)], work, contained=True)
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
