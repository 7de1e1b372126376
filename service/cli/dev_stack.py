"""The whole stack on one machine: Redis, the service, a worker on each lane (`preceptor-server dev`, `make up`).

For trying it out and for tests. Production runs the same processes under its own supervisor.
"""

import errno
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Self

from service.core.errors import StateUnavailable
from service.core.lanes import LANES
from service.core.private_files import FolderUnusable, make_usable
from service.core.redis.embedded import EmbeddedRedis
from service.core.settings import Settings

from .configuration import settings_from

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 40.0
_RESTART_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.2


class StackError(Exception):
    """The stack did not come up; the message says which part and shows the end of its log."""


class StackStopped(StackError):
    """The stack was asked to stop before it was ready."""


class Stack:
    """The processes of one stack, restarted when they end, stopped together.

    Parameters
    ----------
    settings
        `settings.data` holds everything, for one stack at a time; `settings.port` 0 takes a free port.
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
        self._stopping = threading.Event()
        self._folder = _FolderLock(settings.data / "stack.lock")

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
        try:
            make_usable(self._settings.data)
            redis_left = self._folder.take()
            self._refuse_taken_port()
            if self.embedded is not None:
                # Ours, too, if the stack that started it was killed.
                self._owns_redis = not self.embedded.alive() or self.embedded.pid() == redis_left
                self.embedded.ensure()
                if self._owns_redis:
                    self._folder.record(redis=self.embedded.pid())
            for name, arguments in (
                ("service", ["-m", "service"]),
                *((f"worker-{lane}", ["-m", "worker", "--lane", lane]) for lane in LANES),
            ):
                self._go_on()
                self.start_process(name, arguments)
            self._wait_ready()
        except (FolderUnusable, StateUnavailable, OSError) as error:
            self.stop()
            raise StackError(str(error)) from error
        except BaseException:
            self.stop()
            raise

    def request_stop(self) -> None:
        """Have `start` or `supervise` return soon. For signal handlers."""
        self._stopping.set()

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise StackStopped("Stopped before it was ready")

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
        """Restart what ends, until `request_stop`.

        Raises
        ------
        StackError
            The service cannot be started again: another program has taken its port.
        """
        while not self._stopping.wait(_LOOK_SECONDS):
            if self.embedded is not None and self.embedded.gone():
                print("redis ended; starting it again", file=sys.stderr)
                try:
                    self.embedded.ensure()
                except StateUnavailable as error:
                    print(f"{error}. Trying again", file=sys.stderr)
                else:
                    if self._owns_redis:
                        self._folder.record(redis=self.embedded.pid())
            for name, child in list(self._children.items()):
                if child.poll() is not None:
                    print(f"{name} ended with code {child.returncode}; starting it again", file=sys.stderr)
                    if self._stopping.wait(_RESTART_SECONDS):
                        return
                    if name == "service":
                        self._refuse_taken_port()
                    self.start_process(name, _arguments(child))

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
            self._owns_redis = False
        self._folder.release()

    def _refuse_taken_port(self) -> None:
        """Raise StackError if another program listens where the service is to."""
        if _can_listen(self._settings.host, self._port):
            return
        other = "a Preceptor" if _is_preceptor(self.url) else "another program"
        raise StackError(
            f"Port {self._port} on {self._settings.host} is in use by {other}. Stop that one, or choose another port "
            "with PRECEPTOR_PORT"
        )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        reason = "it did not answer"
        while time.monotonic() < deadline:
            self._go_on()
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
            self._stopping.wait(0.1)
        raise StackError(f"The service at {self.url} was not ready after {_START_SECONDS:.0f} s: {reason}")

    def _log_tail(self, name: str) -> str:
        if self._logs is None:
            return "Its output is above"
        return "Its log ends with:\n" + (self._logs / f"{name}.log").read_text(errors="replace")[-2000:]


def _arguments(child: subprocess.Popen[bytes]) -> list[str]:
    command = child.args
    assert isinstance(command, list)
    return [str(part) for part in command[1:]]


class _FolderLock:
    """Held by the one stack of a data folder, however that ends; it names the stack's process and its Redis."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> int | None:
        """Take the lock. Returns the process id of the Redis that the last stack has started, if it was killed.

        Raises
        ------
        StackError
            Another stack holds it.
        """
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        noted: dict[str, int] = {}
        with suppress(ValueError):
            noted = json.loads(os.pread(self._file, 4096, 0))
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            self._file = None
            raise StackError(
                f"Another stack (process {noted.get('stack', 'unknown')}) uses the folder "
                f"{self._path.parent.absolute()}. Stop it, or choose another folder with PRECEPTOR_DATA"
            ) from error
        self.record()
        return noted.get("redis")

    def record(self, redis: int | None = None) -> None:
        """Write down who holds the lock, and which Redis is to end with it."""
        assert self._file is not None
        noted = {"stack": os.getpid()} | ({} if redis is None else {"redis": redis})
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(noted).encode(), 0)

    def release(self) -> None:
        """Give it back, if it is held."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


def _can_listen(host: str, port: int) -> bool:
    """Whether a server could listen there, by the options that it would use. True if the address itself is wrong."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def _is_preceptor(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/live", timeout=2) as answer:  # noqa: S310 - our own address
            return answer.headers.get("x-request-id") is not None and b'"status"' in answer.read(1000)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def run(settings: Settings) -> int:
    """Run the stack until SIGINT, SIGTERM or the end of the terminal. The exit status."""
    try:
        stack = Stack(settings)
    except OSError as error:
        print(f"PRECEPTOR_HOST: {settings.host}: {error.strerror or error}", file=sys.stderr)
        return 1

    def stop(number: int, frame: FrameType | None) -> None:
        stack.request_stop()

    # Before the first process starts: what has started by the time a signal comes is stopped in order.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        stack.start()
        print(f"\nPreceptor is ready at {stack.url}  (documentation: {stack.url}/docs)", flush=True)
        print(f"Data: {settings.data.absolute()}    Stop: Ctrl-C", flush=True)
        stack.supervise()
        print("Stopping: running jobs are handed back to the queue", flush=True)
    except StackStopped as error:
        print(error, flush=True)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        stack.stop()
    return 0


if __name__ == "__main__":
    sys.exit(run(settings_from()))
