"""One store and one Redis, and processes of several versions on them."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import httpx2

from service.core.redis.embedded import EmbeddedRedis

from .trees import environment_of

_STOP_SECONDS: Final = 40.0
_READY_SECONDS: Final = 60.0


class Deployment:
    """A store, a Redis, a port; processes are started and ended one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.redis = EmbeddedRedis(folder / "redis")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []

    @property
    def url(self) -> str:
        """The service's address, whichever version answers."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.redis.ensure()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._children):
            self.end(name)
        self.redis.stop()
        for log in self._logs:
            log.close()

    def start_service(self, name: str, tree: Path) -> None:
        """Start the service of a tree and wait until it answers."""
        self._start(name, tree, ["-m", "service"])
        until(lambda: self._answers(name), f"{name} does not answer", _READY_SECONDS)

    def start_worker(self, name: str, tree: Path, lane: str) -> None:
        """Start a worker of a tree."""
        self._start(name, tree, ["-m", "worker", "--lane", lane])

    def end(self, name: str) -> int | None:
        """End a process by SIGTERM; its exit status, None where it had to be killed."""
        child = self._children.pop(name)
        child.terminate()
        try:
            return child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return None

    def logged(self, name: str, event: str) -> list[dict[str, Any]]:
        """The lines of a process that tell of this."""
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in found if line.get("event") == event]

    def log_of(self, name: str) -> str:
        """All that a process has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _start(self, name: str, tree: Path, arguments: list[str]) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self._logs.append(log)
        outer = {key: value for key, value in os.environ.items() if not key.startswith(("PRECEPTOR_", "REDIS_URL"))}
        environment = {
            **outer,
            **environment_of(tree),
            "PRECEPTOR_DATA": str(self.folder / "data"),
            "PRECEPTOR_STORE": self.store.as_uri(),
            "PRECEPTOR_REDIS_URL": self.redis.url,
            "PRECEPTOR_PORT": str(self._port),
            "PRECEPTOR_THREADS": "1",
            "PRECEPTOR_LEASE_SECONDS": "5",
            "PRECEPTOR_CHECKPOINT_SECONDS": "0.5",
            "PRECEPTOR_LOG_FORMAT": "json",
            "OMP_NUM_THREADS": "1",
        }
        self._children[name] = subprocess.Popen(
            [sys.executable, *arguments], cwd=tree, env=environment, stdout=log, stderr=log, start_new_session=True
        )

    def _answers(self, name: str) -> bool:
        assert self._children[name].poll() is None, f"{name} ended: {self.log_of(name)[-2000:]}"
        try:
            return httpx2.get(f"{self.url}/health/live", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False


def until(holds: Callable[[], object], otherwise: str, seconds: float) -> None:
    """Wait for something that other processes bring about.

    Raises
    ------
    AssertionError
        It did not come about in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{otherwise} after {seconds:.0f} s"
        time.sleep(0.1)
