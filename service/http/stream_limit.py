"""How many event streams are open: each holds a connection and a listener for as long as its job runs."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request

from service.core.api_keys import CALLER
from service.core.errors import TooManyStreams


class Streams:
    """The event streams of this process.

    Parameters
    ----------
    most
        In all.
    most_of_one
        Of one API key, or of one subject of tokens. While no keys are asked for, all callers are one.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """Keep one stream open.

        Raises
        ------
        TooManyStreams
        """
        if self._open.total() >= self._most:
            raise _refusal(f"{self._most:,} event streams are open, as many as one process serves")
        if self._open[caller] >= self._most_of_one:
            raise _refusal(f"This caller has {self._most_of_one:,} event streams open, as many as it may have")
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


def _refusal(why: str) -> TooManyStreams:
    return TooManyStreams(
        f"{why}. Close one, follow fewer jobs at once, or ask GET /v1/jobs/<id> from time to time",
        headers={"Retry-After": "5"},
    )


async def _streaming(request: Request) -> AsyncIterator[None]:
    caller = CALLER.get()
    streams: Streams = request.app.state.streams
    with streams.one("" if caller is None else caller.key):
        yield


StreamOf = Annotated[None, Depends(_streaming)]
"""A place among the open streams, until the response ends."""
