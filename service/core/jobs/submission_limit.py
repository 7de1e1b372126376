"""How many submissions are written at once: beyond that they are refused at once, before they are read.

Each holds its body until it is in the store. Without a limit, callers who send faster than the store or Redis write
would fill the memory and wait ever longer; a refusal costs little and says when to come again.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from ..errors import QueueFull

AT_ONCE: Final = 128


class SubmissionLimit:
    """The submissions of this process that are being written.

    Parameters
    ----------
    limit
        Most at once.
    """

    def __init__(self, limit: int = AT_ONCE) -> None:
        self._limit = limit
        self._open = 0

    def refuse_if_full(self) -> None:
        """Raise where no more fits.

        Raises
        ------
        QueueFull
        """
        if self._open >= self._limit:
            raise QueueFull(
                f"{self._limit} submissions are being written at this moment, as many as are taken at once. Nothing "
                "was accepted; try again in a second",
                headers={"Retry-After": "1"},
            )

    @contextmanager
    def one(self) -> Generator[None]:
        """Write one.

        Raises
        ------
        QueueFull
        """
        self.refuse_if_full()
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
