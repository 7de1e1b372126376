"""Reads the queue's messages as data. docket pickles the arguments of a task and unpickles what it finds in Redis.

docket 0.27 has no hook for another serialiser: `Execution.from_message` and `StrikeInstruction.from_message` call
`cloudpickle.loads`, so whoever can write to Redis could run code in the workers, and through an instruction in the
service. `install` puts a reader before both. It goes through the opcodes of the pickle and accepts only those of a
tuple of strings and of an empty dictionary, without importing or calling anything; docket unpickles what this process
has pickled from that. The bytes in Redis stay a pickle, so that other releases read them.
"""

import pickle
import pickletools
from typing import Any, Final

import structlog
from docket import Docket, Execution
from docket.strikelist import StrikeInstruction

_LONGEST: Final = 1024
"""Bytes of a message's arguments: an id takes 50."""

_PLAIN: Final = frozenset(
    {"PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINPUT", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "EMPTY_DICT"}
)
_TEXTS: Final = frozenset({"SHORT_BINUNICODE", "BINUNICODE"})
_NO_JOB: Final = ("",)
"""In the place of what is not read: whoever gets the message looks for the job whose turn it is."""

_MARK: Final = "_read_as_data"
Message = dict[bytes, bytes]

log = structlog.stdlib.get_logger(__name__)


class NotData(ValueError):
    """What was found is no message of ours."""


def loads(data: bytes) -> tuple[str, ...] | dict[str, str]:
    """The arguments of a message: strings, or no named ones.

    Raises
    ------
    NotData
        It is longer, or anything else than that.
    """
    if len(data) > _LONGEST:
        raise NotData(f"{len(data)} bytes")
    texts: list[str] = []
    names: list[str] = []
    try:
        for code, value, _ in pickletools.genops(data):
            if code.name in _TEXTS:
                texts.append(str(value))
            elif code.name not in _PLAIN:
                raise NotData(f"opcode {code.name}")
            names.append(code.name)
    except NotData:
        raise
    except Exception as error:  # The parser raises what its readers do.
        raise NotData("no pickle") from error
    if "EMPTY_DICT" in names:
        if texts:
            raise NotData("named arguments")
        return {}
    return tuple(texts)


def _ours(message: Message) -> Message:
    """A message of a lane with arguments that we have pickled ourselves, from what was read as data."""
    try:
        arguments, named = loads(message[b"args"]), loads(message[b"kwargs"])
        if not isinstance(arguments, tuple) or len(arguments) != 1 or named != {}:
            raise NotData("not one argument")
    except (KeyError, NotData) as reason:
        log.warning("a message in the queue was not written by this service; it is not read", reason=str(reason))
        arguments = _NO_JOB
    return {**message, b"args": pickle.dumps(arguments), b"kwargs": pickle.dumps({})}


def install() -> None:
    """Make docket read messages as data, in this process. Doing so again changes nothing.

    Raises
    ------
    AttributeError
        This docket reads its messages elsewhere.
    """
    if getattr(Execution, _MARK, False):
        return
    read, read_instruction = Execution.from_message.__func__, StrikeInstruction.from_message.__func__

    async def from_message(cls: type[Execution], docket: Docket, message: Message, **named: Any) -> Execution:
        return await read(cls, docket, _ours(message), **named)

    def instruction_from_message(cls: type[StrikeInstruction], message: Message) -> StrikeInstruction:
        # We strike no tasks: the value is dropped, and what is left matches nothing.
        return read_instruction(cls, {**message, b"value": pickle.dumps("")})

    setattr(Execution, "from_message", classmethod(from_message))  # noqa: B010
    setattr(StrikeInstruction, "from_message", classmethod(instruction_from_message))  # noqa: B010
    setattr(Execution, _MARK, True)
