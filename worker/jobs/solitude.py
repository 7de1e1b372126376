"""Lets jobs run side by side, except those that must run alone."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Solitude:
    """A shared and an exclusive way in. Whoever wants to be alone goes before those who come later."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def open_to(self, *, alone: bool) -> bool:
        """Whether one can enter at once."""
        return not self._door.locked() and (self._inside == 0 or not alone)

    @asynccontextmanager
    async def together(self) -> AsyncGenerator[None]:
        """Be inside with others."""
        async with self._door:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Wait until all have left, let nobody in, be inside."""
        async with self._door:
            await self._empty.wait()
            yield
