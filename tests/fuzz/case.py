"""What a parser under test is: where its inputs come from, how they are spoilt, and how one is tried."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Literal, NamedTuple

Files = dict[str, bytes]
"""One input: files by name. A parser of single files has one, `source`."""

Outcome = Literal["accepted", "refused"]
SOURCE: Final = "source"
_TURNS: Final = 8


class Reached(NamedTuple):
    """How an input ended, and the last stage of the parser that it reached: tells how deep the inputs go."""

    outcome: Outcome
    stage: str


Attempt = Callable[[Files, Path], Outcome | Reached]


class ServerError(AssertionError):
    """An answer that no request may get: a 5xx other than 503 and 507, or an error that is no problem document."""


class LeftBehind(AssertionError):
    """A file that the parser should have removed."""


@dataclass(frozen=True)
class Parser:
    """A parser that sees bytes from a user.

    Attributes
    ----------
    seeds
        Makes valid inputs. They depend on nothing but the code.
    spoil
        A new input from one of the seeds and a source of random numbers; the seeds may be spliced.
    attempt
        Gives one input to the parser in an empty folder. An error of ours is "refused"; any other error that
        it raises is a crash. It may say how far the input came.
    contained
        Where the product itself runs the parser in a process that may die: tries the input that way. An input
        that ended its process, or hung, is no fault then if it is refused (or taken) in good order.
    memory
        Bytes of resident memory that one input may take.
    """

    name: str
    seeds: Callable[[], list[Files]]
    spoil: Callable[[list[Files], Random], Files]
    attempt: Attempt
    contained: Attempt | None = None
    memory: int = 384 * 2**20


def case_of(parser: Parser, seeds: list[Files], seed: int, number: int) -> Files:
    """The input of a case: the same for the same numbers. The first cases are the seeds themselves."""
    if number < len(seeds):
        return seeds[number]
    for turn in range(_TURNS):  # some spoilt inputs cannot be written down
        with suppress(Exception):
            return parser.spoil(seeds, Random(f"{parser.name}/{seed}/{number}/{turn}"))
    raise RuntimeError(f"the case {number} of {parser.name} could not be made in {_TURNS} turns")


def single(contents: list[bytes]) -> list[Files]:
    """Inputs of one file each."""
    return [{SOURCE: content} for content in contents]


def refuse_leftovers(folder: Path, allowed: set[str]) -> None:
    """Raise `LeftBehind` where the folder holds other files than these."""
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if extra := [name for name in found if name not in allowed]:
        raise LeftBehind(f"left behind: {extra[:5]}")
