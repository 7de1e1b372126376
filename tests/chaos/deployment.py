"""The processes under fire: an embedded Redis, the service, workers on both lanes; whatever dies is started again."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

import httpx2

from service.core.errors import StateUnavailable
from service.core.redis.embedded import EmbeddedRedis
from service.core.settings import Settings

from .volume import Volume
from .wire import Wire

_ROOT: Final = Path(__file__).resolve().parents[2]
_READY_SECONDS: Final = 120.0


class Deployment:
    """A stack whose parts may be killed at any time.

    Parameters
    ----------
    folder
        Holds everything: data, the store, logs.
    workers
        How many on the lanes (recommend, distill).
    delivery_limit
        After so many lost workers a job has failed.
    """

    def __init__(self, folder: Path, workers: tuple[int, int], delivery_limit: int) -> None:
        self.folder = folder
        self.saves = folder / "saves.txt"
        self.temporary = folder / "temporary"
        self.volume = Volume(folder / "volume")
        self.redis = EmbeddedRedis(folder / "data" / "redis")
        self.delivery_limit = delivery_limit
        self._port = _free_port()
        self._commands: dict[str, list[str]] = {"service": ["-m", "tests.chaos.service"]}
        for lane, count in zip(("recommend", "distill"), workers, strict=True):
            for number in range(count):
                self._commands[f"{lane}-{number}"] = ["-m", "tests.chaos.worker", "--lane", lane]
        # Some workers reach Redis over a network, the others by its socket, as on one machine.
        self.wires = {name: Wire(self.redis) for name in ("distill-0", "recommend-1") if name in self._commands}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        self._stopping = threading.Event()
        self._guard = threading.Thread(target=self._revive, name="supervisor")
        self.clocks: dict[str, float] = {}
        self.starts = 0

    @property
    def url(self) -> str:
        """The service's address, the same after each restart."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.volume.folder / "store"

    def settings(self) -> Settings:
        """Settings with which the test itself looks into the state."""
        return Settings(data=self.folder / "looking-in", store=self.store.as_uri(), redis_url=self.redis.url)

    def workers(self) -> list[str]:
        """Names of the workers."""
        return [name for name in self._commands if name != "service"]

    def pid(self, name: str) -> int | None:
        """Process id of a part that runs."""
        child = self._children.get(name)
        return child.pid if child is not None and child.poll() is None else None

    def start(self) -> None:
        """Start all and wait until the service is ready."""
        self.redis.ensure()
        for name in self._commands:
            self._start(name)
        self._guard.start()
        self.wait_ready()

    def wait_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until the service says that nothing is missing."""
        deadline = time.monotonic() + seconds
        last = "no answer"
        while time.monotonic() < deadline:
            try:
                answer = httpx2.get(f"{self.url}/health/ready", timeout=5)
                if answer.status_code == 200:
                    return
                last = answer.text
            except httpx2.HTTPError as error:
                last = repr(error)
            time.sleep(0.2)
        raise AssertionError(f"not ready after {seconds:.0f} s: {last}")

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to a part, if it runs."""
        pid = self.redis.pid() if name == "redis" else self.pid(name)
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def stop(self) -> dict[str, int | None]:
        """End all by SIGTERM; the exit statuses. Whoever does not end within 40 s is killed (status None)."""
        self._stopping.set()
        self._guard.join()
        ended: dict[str, int | None] = {}
        for names in (self.workers(), ["service"]):
            for name in names:
                self._children[name].terminate()
            for name in names:
                try:
                    ended[name] = self._children[name].wait(40)
                except subprocess.TimeoutExpired:
                    if name != "service":
                        self._children[name].send_signal(signal.SIGUSR1)
                        time.sleep(1)
                    self._children[name].kill()
                    self._children[name].wait()
                    ended[name] = None
        for wire in self.wires.values():
            wire.close()
        self.redis.stop()
        for log in self._logs:
            log.close()
        return ended

    def note(self, text: str) -> None:
        """Write a line of what is done to the parts, with its time, beside their logs."""
        with (self._log_folder() / "faults.log").open("a") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}\n")

    def log_of(self, name: str) -> str:
        """What a part has written."""
        return (self._log_folder() / f"{name}.log").read_text(errors="replace")

    def _log_folder(self) -> Path:
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        return logs

    def _start(self, name: str) -> None:
        log = (self._log_folder() / f"{name}.log").open("ab")
        self._logs.append(log)
        self.temporary.mkdir(exist_ok=True)
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PRECEPTOR_", "REDIS_URL"))},
            "PRECEPTOR_DATA": str(self.folder / "data"),
            "PRECEPTOR_STORE": self.store.as_uri(),
            "PRECEPTOR_PORT": str(self._port),
            "PRECEPTOR_THREADS": "1",
            "PRECEPTOR_LEASE_SECONDS": "3",
            "PRECEPTOR_DELIVERY_LIMIT": str(self.delivery_limit),
            "PRECEPTOR_RETRY_SECONDS": "0.2",
            "PRECEPTOR_RETRY_MAX_SECONDS": "2",
            "PRECEPTOR_RETRY_LIMIT": "1000",
            "PRECEPTOR_CHECKPOINT_SECONDS": "0.2",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.temporary),
            "CHAOS_SAVES": str(self.saves),
            "CHAOS_CLOCK": str(self.clocks.get(name, 0.0)),
            **({"REDIS_URL": self.wires[name].url} if name in self.wires else {}),
        }
        self._children[name] = subprocess.Popen(
            [sys.executable, *self._commands[name]],
            cwd=_ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.starts += 1

    def _revive(self) -> None:
        while not self._stopping.wait(0.2):
            if self.redis.gone():
                with suppress(StateUnavailable):  # Killed again and again while it loads its file: tried once more.
                    self.redis.ensure()
            for name, child in list(self._children.items()):
                if child.poll() is not None:
                    self._start(name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
