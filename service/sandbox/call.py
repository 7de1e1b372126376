"""One question to a confined process, one answer, and it ends: no thread waits for it, and nothing of it is left."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

import anyio

from .channel import Broken, Line
from .child_process import cause_of_death
from .fork_server import Forked, ForkServer

_LARGEST: Final = 2**26
"""Bytes of a question or an answer: 20,000 class names of 200 characters are the longest part of one."""
_MOMENT: Final = 30.0
"""To send or receive what is there already."""
_GRACE: Final = 2.0


class Ended(Exception):
    """The process has ended without an answer.

    Attributes
    ----------
    code
        Its exit status, as of Popen; None where nobody knows.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__("without an answer" if code is None else cause_of_death(code))
        self.code = code


async def call(
    processes: ForkServer, module: str, question: dict[str, Any], *, folder: Path, seconds: float
) -> dict[str, Any]:
    """Ask a new process, which ends when it has answered or when this is cancelled.

    Parameters
    ----------
    module
        As for `ForkServer.start`; its `answer` begins with `asked` and ends with `answered`.
    folder
        The process's current folder.
    seconds
        By the clock.

    Raises
    ------
    Ended
    Broken
        It cannot be started, or its answer makes no sense.
    TimeoutError
    """
    process = await _started(processes, module, folder)
    try:
        async with asyncio.timeout(seconds):
            parts = [_encoded(question)]
            try:
                await asyncio.to_thread(process.line.send, {}, parts, until=time.monotonic() + _MOMENT)
                await _readable(process.line)
                _, answer = await asyncio.to_thread(process.line.receive, _LARGEST, until=time.monotonic() + _MOMENT)
            except Broken as error:
                code = await asyncio.to_thread(process.ended, _GRACE)
                raise Ended(code) from error
            return _decoded(answer)
    finally:
        with anyio.CancelScope(shield=True):
            await asyncio.to_thread(process.end)


async def _started(processes: ForkServer, module: str, folder: Path) -> Forked:
    starting = asyncio.ensure_future(asyncio.to_thread(processes.start, module, folder))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_discard)
        raise


def _discard(starting: "asyncio.Future[Forked]") -> None:
    if not starting.cancelled() and starting.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, starting.result().end)


async def _readable(line: Line) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(line.socket, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(line.socket)


def asked(line: Line) -> dict[str, Any]:
    """The child's side: the question.

    Raises
    ------
    Broken
    """
    return _decoded(line.receive(_LARGEST)[1])


def answered(line: Line, answer: dict[str, Any]) -> None:
    """The child's side: give the answer.

    Raises
    ------
    Broken
    """
    line.send({}, [_encoded(answer)])


def _encoded(told: dict[str, Any]) -> bytes:
    return json.dumps(told, ensure_ascii=False).encode(errors="surrogatepass")


def _decoded(parts: list[bytearray]) -> dict[str, Any]:
    try:
        (told,) = (json.loads(part.decode(errors="surrogatepass")) for part in parts)
    except (ValueError, RecursionError) as error:
        raise Broken("it is no JSON") from error
    if not isinstance(told, dict):
        raise Broken("it is no object")
    return told
