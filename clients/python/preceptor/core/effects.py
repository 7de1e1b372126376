"""The few things that a procedure asks its driver to do; so each procedure serves sync and async alike.

A procedure is a generator: it yields an effect, and receives the effect's result or its exception.
"""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from .files.transfer import Upload

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request, ready to be sent.

    Attributes
    ----------
    read_timeout
        Seconds to wait for the next bytes of the answer; the client's own default where None.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes | Upload | None = None
    read_timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer; `content` is empty where it is read as a stream. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Exchange:
    """Send a request, read the whole answer -> Reply."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send a request, leave the answer's body unread -> Reply. Closes the stream that was open before."""

    request: Request


@dataclass(frozen=True)
class Read:
    """The next bytes of the open stream -> bytes, or None at its end."""


@dataclass(frozen=True)
class Drain:
    """The rest of the open stream -> bytes."""


@dataclass(frozen=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Do(Generic[T]):
    """Call a function that blocks on the disk -> its result."""

    function: Callable[[], T]


@dataclass(frozen=True)
class Emit:
    """Hand an item to the caller's loop."""

    item: Any


Effect: TypeAlias = Exchange | Open | Read | Drain | Sleep | Do[Any] | Emit
Procedure: TypeAlias = Generator[Effect, Any, T]


@dataclass(frozen=True)
class Finished(Generic[T]):
    """A procedure has ended."""

    value: T


def advance(procedure: Procedure[T], result: Any = None, error: Exception | None = None) -> Effect | Finished[T]:
    """Give a procedure the result or failure of its last effect -> its next effect, or its end.

    StopIteration does not leave this function: it must never cross a coroutine.
    """
    try:
        return procedure.send(result) if error is None else procedure.throw(error)
    except StopIteration as stop:
        return Finished(stop.value)
