"""One question to a sandboxed process, one answer. No thread is blocked meanwhile, and the process always ends."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

import anyio

from .channel import Channel, ChannelBroken
from .child_process import exit_cause
from .fork_server import ForkedProcess, ForkServer

_LARGEST: Final = 2**26
"""Bytes of a question or an answer. The longest ones contain 20,000 class names of 200 characters."""
_MOMENT: Final = 30.0
"""Seconds for sending or receiving data that is ready."""
_GRACE: Final = 2.0


class ProcessEnded(Exception):
    """The process ended without an answer.

    Attributes
    ----------
    code
        Exit status, as in Popen; None if unknown.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__("without an answer" if code is None else exit_cause(code))
        self.code = code


async def call(
    processes: ForkServer, module: str, question: dict[str, Any], *, folder: Path, seconds: float
) -> dict[str, Any]:
    """Ask a new process. It ends after its answer, or when the call is cancelled.

    Parameters
    ----------
    module
        As for `ForkServer.start`; its function `answer` starts with `receive_question` and ends with `send_answer`.
    folder
        The process's working directory.
    seconds
        Limit of wall-clock time.

    Raises
    ------
    ProcessEnded
    ChannelBroken
        The process cannot be started, or its answer is malformed.
    TimeoutError
    """
    process = await _started(processes, module, folder)
    try:
        async with asyncio.timeout(seconds):
            parts = [_encoded(question)]
            try:
                await asyncio.to_thread(process.channel.send, {}, parts, until=time.monotonic() + _MOMENT)
                await _readable(process.channel)
                _, answer = await asyncio.to_thread(process.channel.receive, _LARGEST, until=time.monotonic() + _MOMENT)
            except ChannelBroken as error:
                code = await asyncio.to_thread(process.ended, _GRACE)
                raise ProcessEnded(code) from error
            return _decoded(answer)
    finally:
        with anyio.CancelScope(shield=True):
            await asyncio.to_thread(process.end)


async def _started(processes: ForkServer, module: str, folder: Path) -> ForkedProcess:
    starting = asyncio.ensure_future(asyncio.to_thread(processes.start, module, folder))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_discard)
        raise


def _discard(starting: "asyncio.Future[ForkedProcess]") -> None:
    if not starting.cancelled() and starting.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, starting.result().end)


async def _readable(channel: Channel) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(channel.socket, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(channel.socket)


def receive_question(channel: Channel) -> dict[str, Any]:
    """Receive the question, in the child.

    Raises
    ------
    ChannelBroken
    """
    return _decoded(channel.receive(_LARGEST)[1])


def send_answer(channel: Channel, answer: dict[str, Any]) -> None:
    """Send the answer, in the child.

    Raises
    ------
    ChannelBroken
    """
    channel.send({}, [_encoded(answer)])


def _encoded(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply, ensure_ascii=False).encode(errors="surrogatepass")


def _decoded(parts: list[bytearray]) -> dict[str, Any]:
    try:
        (reply,) = (json.loads(part.decode(errors="surrogatepass")) for part in parts)
    except (ValueError, RecursionError) as error:
        raise ChannelBroken("the message is not valid JSON") from error
    if not isinstance(reply, dict):
        raise ChannelBroken("the message is not a JSON object")
    return reply
