"""Starts sandboxed processes within milliseconds, by forking a process that has imported the libraries.

Importing them takes one to two seconds. The server never reads untrusted input and has a single thread. Its children
inherit its minimal environment; see `service.sandbox.child_process`.
"""

import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from . import child_process
from .channel import Channel, ChannelBroken

_MODULE: Final = "service.sandbox.fork_server"
_ANSWER_SECONDS: Final = 60.0
"""Includes importing torch on a slow and busy machine."""
_LEAVING_SECONDS: Final = 2.0
_SHORTEST_TICK: Final = 0.0005
_LONGEST_TICK: Final = 0.01


@dataclass
class ForkedProcess:
    """A process started by the server.

    Attributes
    ----------
    server
        The fork server, its parent.
    pid
        Its process id; also the id of its process group.
    channel
        Connection to the process. Closing it ends the process.
    code
        Exit status, as in Popen, once known.
    """

    server: "ForkServer"
    pid: int
    channel: Channel
    code: int | None = None

    def ended(self, seconds: float = 0.0) -> int | None:
        """The exit status, after waiting up to `seconds`; None while the process runs, or if unknown."""
        if self.code is None:
            self.code = self.server.ask({"ended": self.pid, "seconds": seconds}).get("code")
        return self.code

    def end(self) -> None:
        """Kill the process and its process group."""
        self.channel.socket.close()
        if self.code is None:
            self.code = self.server.ask({"end": self.pid}).get("code")


class ForkServer:
    """A fork server, started at first use and restarted after it has ended. Safe for threads.

    Parameters
    ----------
    variables
        Environment variables of its processes, in addition to the paths.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = dict(variables or {})
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    def start(self, module: str, folder: Path, *, imports: Sequence[str] = ()) -> ForkedProcess:
        """Start a process.

        Parameters
        ----------
        module
            Its function `answer` receives the process's end of the channel. If it has a function `prepare`, the server
            calls it once, so that the processes need not repeat its work. It must not start a thread.
        imports
            Modules that the server imports, so that the processes need not. They must not start a thread.

        Raises
        ------
        ChannelBroken
            The process cannot be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            reply = self.ask({"start": module, "imports": list(imports), "folder": str(folder.absolute())}, theirs)
        if type(pid := reply.get("pid")) is not int:
            ours.close()
            raise ChannelBroken("no process could be started")
        return ForkedProcess(self, pid, Channel(ours))

    def ask(self, request: dict[str, Any], passed: socket.socket | None = None) -> dict[str, Any]:
        """The server's answer; empty if the server has ended."""
        with self._lock:
            for _ in range(2 if passed else 1):
                try:
                    channel = self._connected() if passed else self._channel
                    if channel is None:
                        return {}
                    until = time.monotonic() + _ANSWER_SECONDS
                    channel.send(request, until=until)
                    if passed:
                        socket.send_fds(channel.socket, [b"."], [passed.fileno()])
                    return channel.receive(0, until=until)[0]
                except (ChannelBroken, TimeoutError, OSError):
                    self._close()
        return {}

    def close(self) -> None:
        """End the server and its processes."""
        with self._lock:
            if self._channel is not None and self._process is not None:
                self._channel.socket.close()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_LEAVING_SECONDS)
            self._close()

    def _connected(self) -> Channel:
        if self._channel is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = child_process.start(_MODULE, Path("/"), self._variables, socket=theirs.fileno())
            self._channel = Channel(ours)
        return self._channel

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.socket.close()
        if self._process is not None:
            child_process.end(self._process)
        self._channel = self._process = None


def serve(channel: Channel) -> None:
    """Run the server: fork, monitor and end processes until the channel is closed; then end the remaining ones."""
    living: set[int] = set()
    try:
        while True:
            request, _ = channel.receive(0)
            answer: dict[str, Any] = {}
            if "start" in request:
                answer["pid"] = _fork(channel, request)
                living.add(answer["pid"])
            elif (pid := request.get("ended", request.get("end"))) in living:
                if "end" in request:
                    _kill(pid)
                answer["code"] = _wait(pid, float(request.get("seconds", _ANSWER_SECONDS / 2)))
                if answer["code"] is not None:
                    living.discard(pid)
            channel.send(answer)
    except ChannelBroken:
        for pid in living:
            _kill(pid)


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # A process that was just forked may have no group yet.
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def _fork(channel: Channel, request: dict[str, Any]) -> int:
    _, (descriptor,), _, _ = socket.recv_fds(channel.socket, 1, 1)
    with socket.socket(fileno=descriptor) as theirs:
        answer = _prepared(request["start"]).answer
        for name in request["imports"]:
            importlib.import_module(name)
        if pid := os.fork():
            return pid
        status = 1
        try:
            os.setsid()
            os.chdir(request["folder"])
            channel.socket.close()
            answer(Channel(theirs))
            status = 0
        finally:
            os._exit(status)


@cache
def _prepared(module: str) -> Any:
    found = importlib.import_module(module)
    if (prepare := getattr(found, "prepare", None)) is not None:
        prepare()
    gc.collect()
    gc.freeze()  # A garbage collection in a child would write to the pages it shares with the server, and copy them.
    return found


def _wait(pid: int, seconds: float) -> int | None:
    until, tick = time.monotonic() + seconds, _SHORTEST_TICK
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(tick)
        tick = min(2 * tick, _LONGEST_TICK)


def _main() -> None:
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    # Output of libraries is discarded.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(channel)
    os._exit(0)  # Skip the libraries' exit handlers: they take longer and have no effect here.


if __name__ == "__main__":
    _main()
