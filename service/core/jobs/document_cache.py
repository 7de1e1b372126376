"""Documents of ended jobs, kept for a minute: an ended job never changes, and many ask for it at once."""

import time
from typing import Final, NamedTuple

from cachetools import TTLCache

_SECONDS: Final = 60.0
"""A job that its retention has removed is still shown for so long."""

_BYTES: Final = 32 * 2**20


class _Kept(NamedTuple):
    document: bytes
    tag: str


class DocumentCache:
    """The least recently used go first.

    Parameters
    ----------
    limit
        Bytes of all documents together; a document over a quarter of it is not kept.
    """

    def __init__(self, limit: int = _BYTES, seconds: float = _SECONDS) -> None:
        self._kept: TTLCache[str, _Kept] = TTLCache(
            limit, seconds, timer=lambda: time.monotonic(), getsizeof=lambda kept: len(kept.document)
        )

    def get(self, id: str) -> bytes | None:
        """A kept document, or None."""
        found = self._kept.get(id)
        return None if found is None else found.document

    def tag(self, id: str) -> str:
        """What was kept beside a document; empty where nothing was."""
        found = self._kept.get(id)
        return "" if found is None else found.tag

    def put(self, id: str, document: bytes, tag: str = "") -> None:
        """Keep the document of a job that has ended, and its entity tag: it takes longer to make than to send."""
        if len(document) <= self._kept.maxsize // 4:
            self._kept[id] = _Kept(document, tag)

    def forget(self, id: str) -> None:
        """Keep it no longer."""
        self._kept.pop(id, None)
