"""`python -m service.cli.dev_stack`: the whole stack on one machine: Redis, the service, a worker on each lane.

For trying it out and for tests. Production runs the same processes under its own supervisor.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Self

from service.core.errors import StateUnavailable
from service.core.lanes import LANES
from service.core.private_files import private_folder
from service.core.redis.embedded import EmbeddedRedis
from service.core.settings import Settings

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 40.0
_RESTART_SECONDS: Final = 1.0


class StackError(Exception):
    """The stack did not come up; the message says which part and shows the end of its log."""


class Stack:
    """The processes of one stack, restarted when they die, stopped together.

    Parameters
    ----------
    settings
        `settings.data` holds everything; `settings.port` 0 takes a free port.
    logs
        Folder for one log file a process; standard error where None.
    """

    def __init__(self, settings: Settings, logs: Path | None = None) -> None:
        self._settings = settings
        self._logs = logs
        self._port = settings.port or _free_port(settings.host)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._files: list[IO[bytes]] = []
        self.embedded = EmbeddedRedis(settings.data / "redis") if settings.redis_url is None else None
        self._owns_redis = False

    @property
    def url(self) -> str:
        """Address of the service."""
        return f"http://{self._settings.host}:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it is ready.

        Raises
        ------
        StackError
            A process died or the service did not become ready.
        """
        private_folder(self._settings.data)
        if self.embedded is not None:
            self._owns_redis = not self.embedded.alive()
            self.embedded.ensure()
        self.start_process("service", ["-m", "service"])
        for lane in LANES:
            self.start_process(f"worker-{lane}", ["-m", "worker", "--lane", lane])
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def start_process(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        """Start one Python process of the stack under a name."""
        environment = {
            **os.environ,
            "PRECEPTOR_DATA": str(self._settings.data.absolute()),
            "PRECEPTOR_HOST": self._settings.host,
            "PRECEPTOR_PORT": str(self._port),
        }
        output: IO[bytes] | None = None
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
            output = (self._logs / f"{name}.log").open("ab")
            self._files.append(output)
        # A session of its own: Ctrl-C reaches the stack alone, which then stops its children in order.
        child = subprocess.Popen(
            [sys.executable, *arguments], env=environment, stderr=output, stdout=output, start_new_session=True
        )
        self._children[name] = child
        return child

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """A running process: `service`, `worker-recommend`, `worker-distill`."""
        return self._children[name]

    def supervise(self) -> None:
        """Restart what dies. Returns after SIGINT or SIGTERM."""
        stopping = False

        def stop(number: int, frame: FrameType | None) -> None:
            nonlocal stopping
            stopping = True

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        while not stopping:
            time.sleep(0.2)
            if self.embedded is not None and self.embedded.gone():
                print("redis ended; starting it again", file=sys.stderr)
                try:
                    self.embedded.ensure()
                except StateUnavailable as error:
                    print(f"{error}. Trying again", file=sys.stderr)
            for name, child in list(self._children.items()):
                if child.poll() is not None and not stopping:
                    print(f"{name} ended with code {child.returncode}; starting it again", file=sys.stderr)
                    time.sleep(_RESTART_SECONDS)
                    self.start_process(name, [str(argument) for argument in _arguments(child)])

    def stop(self) -> None:
        """Drain the workers, stop the service, then Redis if this stack started it."""
        for names in ([name for name in self._children if name != "service"], ["service"]):
            for name in names:
                child = self._children.get(name)
                if child is not None and child.poll() is None:
                    child.terminate()
            for name in names:
                child = self._children.pop(name, None)
                if child is not None:
                    try:
                        child.wait(_STOP_SECONDS)
                    except subprocess.TimeoutExpired:
                        child.kill()
                        child.wait()
        for file in self._files:
            file.close()
        self._files.clear()
        if self.embedded is not None and self._owns_redis:
            self.embedded.stop()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        reason = "it did not answer"
        while time.monotonic() < deadline:
            for name, child in self._children.items():
                if child.poll() is not None:
                    raise StackError(f"{name} ended with code {child.returncode}. {self._log_tail(name)}")
            try:
                with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2):  # noqa: S310 - our own address
                    return
            except urllib.error.HTTPError as error:
                reason = error.read().decode(errors="replace")
            except OSError as error:
                reason = str(error)
            time.sleep(0.1)
        raise StackError(f"The service at {self.url} was not ready after {_START_SECONDS:.0f} s: {reason}")

    def _log_tail(self, name: str) -> str:
        if self._logs is None:
            return "Its output is above"
        return "Its log ends with:\n" + (self._logs / f"{name}.log").read_text(errors="replace")[-2000:]


def _arguments(child: subprocess.Popen[bytes]) -> list[str]:
    command = child.args
    assert isinstance(command, list)
    return [str(part) for part in command[1:]]


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Run the stack until Ctrl-C."""
    settings = Settings()
    stack = Stack(settings)
    try:
        stack.start()
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\nPreceptor is ready at {stack.url}  (documentation: {stack.url}/docs)", flush=True)
    print(f"Data: {settings.data.absolute()}    Stop: Ctrl-C", flush=True)
    try:
        stack.supervise()
        print("Stopping: running jobs are handed back to the queue", flush=True)
    finally:
        stack.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
