"""Several processes that train one student together, one a graphics card, for students that are slow to train.

The job stays in the worker's process; only `train` runs in these. Every process receives the same assignment, computes
its share of each batch, and adds its gradients to those of the others. The first one reports steps, epochs and states;
a stop that it receives applies to all at the same step. Messages are pickled by this program for its own processes.
"""

import os
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, Literal

import cloudpickle
import structlog
import torch
from torch import Tensor

from preceptor.contract.distillations import EpochMetrics
from worker.errors import ComputationFailed
from worker.transport.tally import SOLVED

from ..blueprint import Blueprint
from ..losses.term import Term
from ..schedule import Plan
from .checkpoints import Ledger
from .devices import Accelerated, Precision, mixed_precision
from .step import Material
from .trainer import Measures, Trained, TrainingStopped, Watch, train

_PATIENCE: Final = 0.1
"""Seconds between two checks whether the job must stop, while no step ends."""
_END: Final = 5.0
"""Seconds that a process has to exit by itself."""

log = structlog.stdlib.get_logger(__name__)
Kind = Literal["step", "skip", "epoch", "state", "solved", "stopped", "done", "failed", "crashed"]
Message = tuple[Kind, Any]


class TrainingProcesses:
    """Processes that train together; the first training starts them, `close` ends them.

    Parameters
    ----------
    processes
        Number of processes.
    device
        "cuda": each has a separate card; "cpu": all share the processor.
    threads
        Threads of each process.
    """

    def __init__(self, processes: int, device: torch.device, precision: Precision, threads: int) -> None:
        self._processes, self._device, self._precision, self._threads = processes, device, precision, threads
        self._members: list[Any] = []
        self._lines: list[Connection] = []
        self._lives: list[Connection] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def members(self) -> list[int]:
        """Process numbers, by rank; none before the first training."""
        return [member.pid for member in self._members]

    def train(
        self,
        blueprint: Blueprint,
        material: Material,
        term: Term | None,
        weight: float,
        plan: Plan,
        *,
        watch: Watch,
        measures: Measures | None = None,
        ledger: Ledger | None = None,
        name: str = "",
    ) -> Trained:
        """See `trainer.train`.

        Raises
        ------
        TrainingStopped
        ComputationFailed
            Also when one of the processes exited.
        """
        started = time.perf_counter()
        if not self._members:
            self._start()
        before = None if ledger is None else ledger.running(name)
        every = None if ledger is None else ledger.every_seconds
        assignment = cloudpickle.dumps((blueprint, material, term, weight, plan, measures, before, every))
        for line in self._lines:
            line.send_bytes(assignment)

        def keep(state: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
            if ledger is not None:
                ledger.offer(name, lambda: state, now=True)

        try:
            weights, history = self._listen(watch, keep)
        except TrainingStopped:
            raise
        except BaseException:
            self.close()
            raise
        with torch.random.fork_rng():
            model = blueprint.build()
        model.load_state_dict(weights)
        model.eval()
        return Trained(model, history, time.perf_counter() - started)

    def _listen(
        self, watch: Watch, keep: Callable[[tuple[dict[str, Tensor], dict[str, Any]]], None]
    ) -> tuple[dict[str, Tensor], list[EpochMetrics]]:
        stopping: TrainingStopped | None = None
        while True:
            for kind, value in self._received():
                if kind == "step" and stopping is None:
                    try:
                        watch.step()
                    except TrainingStopped as error:
                        stopping = error
                        self._lines[0].send_bytes(b"stop")
                elif kind == "epoch":
                    watch.epoch(EpochMetrics.model_validate(value))
                elif kind == "skip":
                    watch.skip(value)
                elif kind == "state":
                    keep(value)
                elif kind == "solved":
                    SOLVED.count(value)
                elif kind == "stopped":
                    raise stopping or TrainingStopped("stopped")
                elif kind == "done":
                    weights, history = value
                    return weights, [EpochMetrics.model_validate(entry) for entry in history]
                elif kind == "failed":
                    raise ComputationFailed(value)
                elif kind == "crashed":
                    log.error("training process failed", reason=value)
                    self._raise_if_killed()  # The others fail because one of them was killed.
                    raise RuntimeError("a training process failed; the worker's log has the reason")

    def _raise_if_killed(self) -> None:
        if any((member.exitcode or 0) < 0 for member in self._members):
            raise self._ended()

    def _ended(self) -> RuntimeError:
        codes = [member.exitcode for member in self._members]
        return RuntimeError(f"a training process exited unexpectedly (exit codes {codes})")

    def _received(self) -> list[Message]:
        """The messages received since the last call; raises if a process ended."""
        ready = wait([*self._lines, *(member.sentinel for member in self._members)], _PATIENCE)
        messages: list[Message] = []
        for line in self._lines:
            if line in ready:
                try:
                    messages.append(cloudpickle.loads(line.recv_bytes()))
                except EOFError:
                    continue
        if not messages and any(not member.is_alive() for member in self._members):
            raise self._ended()
        return messages

    def _start(self) -> None:
        from torch import multiprocessing

        spawn = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory(prefix="training-")
        meeting = (Path(self._folder.name) / "meeting").as_uri()
        for rank in range(self._processes):
            line, far = spawn.Pipe()
            far_life, life = spawn.Pipe(duplex=False)
            given = (far, far_life, rank, self._processes, meeting, str(self._device), self._precision, self._threads)
            member = spawn.Process(target=serve, args=given, name=f"training {rank}", daemon=True)
            member.start()
            far.close()
            far_life.close()
            self._members.append(member)
            self._lines.append(line)
            self._lives.append(life)

    def close(self) -> None:
        """End all processes."""
        for end in (*self._lines, *self._lives):
            end.close()
        for member in self._members:
            member.join(_END)
            if member.is_alive():
                member.kill()
                member.join()
        self._members, self._lines, self._lives = [], [], []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def serve(
    line: Connection,
    life: Connection,
    rank: int,
    processes: int,
    meeting: str,
    device: str,
    precision: Precision,
    threads: int,
) -> None:
    """What each process does: run the assignments that it receives, until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's; the worker ends these processes.
    threading.Thread(target=_die_with, args=(life,), daemon=True).start()
    machine = _join(rank, processes, meeting, torch.device(device), precision, threads)
    try:
        while True:
            try:
                assignment = line.recv_bytes()
            except EOFError:
                return
            if assignment == b"stop":
                continue  # It arrived after the last step of a finished run.
            message = _work(line, machine, assignment)
            _send(line, "solved", SOLVED.take())
            if rank == 0 or message[0] in ("failed", "crashed"):
                _send(line, *message)
    except (BrokenPipeError, ConnectionResetError):
        return
    finally:
        torch.distributed.destroy_process_group()


def _die_with(life: Connection) -> None:
    """End at once when the worker ends, even inside a step that waits for the others."""
    try:
        life.recv_bytes()
    except (EOFError, OSError):
        os._exit(0)


def _join(
    rank: int, processes: int, meeting: str, device: torch.device, precision: Precision, threads: int
) -> Accelerated:
    """Join the process group. Each process sees one card only, so that a device name means the same in all."""
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": str(threads),
        "MASTER_ADDR": "127.0.0.1",  # accelerate requires it; the processes meet at a file
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
    }
    torch.set_num_threads(threads)
    if device.type == "cuda":
        cards = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(str(card) for card in range(processes))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[rank]
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=processes)
    return Accelerated(mixed_precision(precision, device), device)


class _Reports:
    """The first process's watch and ledger: both report to the worker. The others report nothing."""

    def __init__(self, line: Connection, machine: Accelerated, every: float | None, before: Any) -> None:
        self._line, self._machine, self._every, self._before = line, machine, every, before
        self._first = machine.rank == 0
        self._stopping = False
        self._written = time.perf_counter()

    def step(self) -> None:
        """See `Watch`: all stop before the same step."""
        if self._first:
            _send(self._line, "step")
            while not self._stopping and self._line.poll():
                self._stopping = self._line.recv_bytes() == b"stop"
        if self._machine.from_first(float(self._stopping)) > 0:
            raise TrainingStopped("stopped")

    def epoch(self, metrics: EpochMetrics) -> None:
        """See `Watch`."""
        if self._first:
            _send(self._line, "epoch", metrics.model_dump())

    def skip(self, steps: int) -> None:
        """See `Watch`."""
        if self._first:
            _send(self._line, "skip", steps)

    def running(self, name: str) -> Any:
        """See `Ledger.running`."""
        return self._before

    def offer(
        self, name: str, state: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]], *, now: bool = False
    ) -> None:
        """See `Ledger.offer`."""
        if not self._first or self._every is None:
            return
        if now or time.perf_counter() - self._written >= self._every:
            tensors, facts = state()
            _send(self._line, "state", (_on_cpu(tensors), facts))
            self._written = time.perf_counter()


def _work(line: Connection, machine: Accelerated, assignment: bytes) -> Message:
    try:
        blueprint, material, term, weight, plan, measures, before, every = cloudpickle.loads(assignment)
        reports = _Reports(line, machine, every, before)
        trained = train(
            blueprint,
            material,
            term,
            weight,
            plan,
            watch=reports,
            measures=measures,
            ledger=reports,
            machine=machine,
        )
    except TrainingStopped:
        return "stopped", None
    except ComputationFailed as error:
        return "failed", error.detail
    except Exception:
        return "crashed", traceback.format_exc()
    return "done", (_on_cpu(trained.model.state_dict()), [entry.model_dump() for entry in trained.history])


def _send(line: Connection, kind: Kind, value: Any = None) -> None:
    # By value: torch would pass tensors as shared memory, and keep a file open for each.
    line.send_bytes(cloudpickle.dumps((kind, value)))


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.detach().to("cpu", copy=True) for key, tensor in tensors.items()}
