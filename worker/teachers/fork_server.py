"""Starts processes for strangers' models within milliseconds: a process that has imported the libraries forks.

Importing them takes .4 seconds for ONNX and 1.5 for torch, and a zoo has many teachers. The server itself never reads
a model, and has one thread. What is forked from it inherits its bare environment; see `worker.teachers.child`.
"""

import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from . import child
from .wire import Broken, Line

_MODULE: Final = "worker.teachers.fork_server"
_ANSWER_SECONDS: Final = 60.0
"""Importing torch on a slow and busy machine."""
_TICK: Final = 0.01
# None of them starts a thread when it is imported: a process with threads cannot be forked safely.
_IMPORTED: Final = {"onnx": "worker.teachers.sources.onnx", "torch_export": "worker.teachers.sources.torch_export"}


@dataclass
class Forked:
    """A process that the server has started.

    Attributes
    ----------
    server
        Its parent.
    pid
        Its number; also that of its group.
    line
        A connection to it. It ends when this is closed.
    code
        Its exit status, as of Popen, once that is known.
    """

    server: "ForkServer"
    pid: int
    line: Line
    code: int | None = None

    def ended(self, seconds: float = 0.0) -> int | None:
        """Its exit status, after at most so long; None while it lives, or where nobody knows."""
        if self.code is None:
            self.code = self.server.ask({"ended": self.pid, "seconds": seconds}).get("code")
        return self.code

    def end(self) -> None:
        """Kill it and all that it has started."""
        self.line.socket.close()
        if self.code is None:
            self.code = self.server.ask({"end": self.pid}).get("code")


class ForkServer:
    """One server of a worker, started when it is first needed and again when it has ended. Safe for threads.

    Parameters
    ----------
    threads, device
        What the environment of the processes is made for.
    """

    def __init__(self, threads: int | None, device: str) -> None:
        self._threads = threads or 1
        self._device = device
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Line | None = None

    def start(self, kind: str, folder: Path) -> Forked:
        """Start a process for a model of some kind; its current folder is that of the model's files.

        Raises
        ------
        Broken
            No process can be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            told = self.ask({"start": kind, "folder": str(folder.absolute())}, theirs)
        if type(pid := told.get("pid")) is not int:
            ours.close()
            raise Broken("no process could be started")
        return Forked(self, pid, Line(ours))

    def ask(self, request: dict[str, Any], passed: socket.socket | None = None) -> dict[str, Any]:
        """What the server answers; nothing where it has gone."""
        with self._lock:
            for _ in range(2 if passed else 1):
                try:
                    line = self._connected() if passed else self._line
                    if line is None:
                        return {}
                    until = time.monotonic() + _ANSWER_SECONDS
                    line.send(request, until=until)
                    if passed:
                        socket.send_fds(line.socket, [b"."], [passed.fileno()])
                    return line.receive(0, until=until)[0]
                except (Broken, TimeoutError, OSError):
                    self._close()
        return {}

    def close(self) -> None:
        """End the server. What it has started ends with its own lines."""
        with self._lock:
            self._close()

    def _connected(self) -> Line:
        if self._line is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = child.start(
                    _MODULE, Path("/"), threads=self._threads, device=self._device, socket=theirs.fileno()
                )
            self._line = Line(ours)
        return self._line

    def _close(self) -> None:
        if self._line is not None:
            self._line.socket.close()
        if self._process is not None:
            child.end(self._process)
        self._line = self._process = None


def serve(line: Line, run: Callable[[Line], None]) -> None:
    """The server: fork, watch and end processes until the line is closed.

    Parameters
    ----------
    line
        To the worker.
    run
        What a forked process does with its own line.
    """
    living: set[int] = set()
    while True:
        try:
            request, _ = line.receive(0)
            answer: dict[str, Any] = {}
            if "start" in request:
                answer["pid"] = _fork(line, request, run)
                living.add(answer["pid"])
            elif (pid := request.get("ended", request.get("end"))) in living:
                if "end" in request:
                    with suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                answer["code"] = _wait(pid, float(request.get("seconds", _ANSWER_SECONDS / 2)))
                if answer["code"] is not None:
                    living.discard(pid)
            line.send(answer)
        except Broken:
            return


def _fork(line: Line, request: dict[str, Any], run: Callable[[Line], None]) -> int:
    _, (descriptor,), _, _ = socket.recv_fds(line.socket, 1, 1)
    with socket.socket(fileno=descriptor) as theirs:
        importlib.import_module(_IMPORTED[request["start"]])
        if pid := os.fork():
            return pid
        status = 1
        try:
            os.setsid()
            os.chdir(request["folder"])
            line.socket.close()
            run(Line(theirs))
            status = 0
        finally:
            os._exit(status)


def _wait(pid: int, seconds: float) -> int | None:
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(_TICK)


def _main() -> None:
    line = Line(socket.socket(fileno=int(sys.argv[1])))
    # Libraries may print; nobody reads it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from .apart import answer

    serve(line, answer)


if __name__ == "__main__":
    _main()
