"""The Redis cache of cost matrices and teacher outputs: evictable, never the only copy. A failure counts as a miss."""

import hashlib
from collections.abc import Iterable
from typing import Literal, cast

from redis.exceptions import RedisError

from . import keys
from .client import RedisClient

CacheKind = Literal["cost", "outputs"]


def cache_digest(parts: Iterable[str | bytes]) -> str:
    """A digest of everything that a cached value depends on."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


class Cache:
    """Binary values with a time to live.

    Parameters
    ----------
    client
        A client that does not decode responses.
    ttl
        Seconds.
    max_bytes
        Larger values are not stored.
    """

    def __init__(self, client: RedisClient, ttl: int, max_bytes: int) -> None:
        self._client = client
        self._ttl = ttl
        self._max_bytes = max_bytes

    async def get(self, kind: CacheKind, digest: str) -> bytes | None:
        """A cached value, or None."""
        try:
            return cast("bytes | None", await self._client.get(keys.cache(kind, digest)))
        except (RedisError, OSError):
            return None

    async def put(self, kind: CacheKind, digest: str, value: bytes) -> bool:
        """Store a value; False if it is too large or Redis rejects it."""
        if len(value) > self._max_bytes:
            return False
        try:
            await self._client.set(keys.cache(kind, digest), value, ex=self._ttl)
        except (RedisError, OSError):
            return False
        return True
