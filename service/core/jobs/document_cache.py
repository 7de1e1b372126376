"""Documents of ended jobs, kept for a minute: an ended job never changes, and many ask for it at once."""

import time
from collections import OrderedDict
from typing import Final

_SECONDS: Final = 60.0
"""A job that its retention has removed is still told of for so long."""

_BYTES: Final = 32 * 2**20


class Recent:
    """The least recently used go first.

    Parameters
    ----------
    limit
        Bytes of all documents together; a document over a quarter of it is not kept.
    """

    def __init__(self, limit: int = _BYTES, seconds: float = _SECONDS) -> None:
        self._limit, self._seconds = limit, seconds
        self._kept: OrderedDict[str, tuple[float, bytes, str]] = OrderedDict()
        self._size = 0

    def get(self, id: str) -> bytes | None:
        """A kept document, or None."""
        found = self._kept.get(id)
        if found is None:
            return None
        if time.monotonic() - found[0] > self._seconds:
            self.forget(id)
            return None
        self._kept.move_to_end(id)
        return found[1]

    def tag(self, id: str) -> str:
        """What was kept beside a document; empty where nothing was."""
        found = self._kept.get(id)
        return "" if found is None else found[2]

    def put(self, id: str, document: bytes, tag: str = "") -> None:
        """Keep the document of a job that has ended, and its entity tag: it takes longer to make than to send."""
        if len(document) > self._limit // 4:
            return
        self.forget(id)
        self._kept[id] = (time.monotonic(), document, tag)
        self._size += len(document)
        while self._size > self._limit:
            self.forget(next(iter(self._kept)))

    def forget(self, id: str) -> None:
        """Keep it no longer."""
        found = self._kept.pop(id, None)
        if found is not None:
            self._size -= len(found[1])
