"""Connections to Redis, and the conversion of its errors."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import redis.asyncio as redis_async
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError as RedisConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from ..errors import StateUnavailable
from ..observability.failure_log import log_cause

_CONNECTIONS: Final = 64
RedisClient = redis_async.Redis


def connect(url: str, *, decode: bool) -> RedisClient:
    """A client with a connection pool; connects at first use.

    Parameters
    ----------
    url
        `redis://`, `rediss://` or `unix://`.
    decode
        Whether responses are text; the caches need bytes.
    """
    # Blocking: if all connections are in use, a caller waits for one, as a thousand listeners do at each event.
    pool = redis_async.BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        decode_responses=decode,
        socket_timeout=10,
        socket_connect_timeout=3,
        health_check_interval=15,
        max_connections=_CONNECTIONS,
        timeout=20,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 2),
        retry_on_error=[RedisConnectionError, BusyLoadingError],
    )
    return redis_async.Redis.from_pool(pool)


@contextmanager
def translated() -> Generator[None]:
    """Convert errors of Redis into `StateUnavailable`, which a caller may retry."""
    try:
        yield
    except (RedisError, OSError) as error:
        log_cause("Redis", error)
        detail, seconds = _meaning(error)
        raise StateUnavailable(detail, headers={"Retry-After": str(seconds)}) from error


def _meaning(error: Exception) -> tuple[str, int]:
    """The detail for the caller, and the seconds until a retry."""
    if isinstance(error, OutOfMemoryError):
        return (
            "Redis is out of memory and rejected the write. Nothing was accepted. Raise its maxmemory, or wait "
            "until running jobs have ended",
            10,
        )
    if isinstance(error, ReadOnlyError):
        return "Redis is a replica and rejects writes. Nothing was accepted. Connect to the primary server", 10
    if isinstance(error, AuthenticationError | NoPermissionError) or _begins(error, "NOAUTH", "WRONGPASS", "NOPERM"):
        return (
            "Redis rejects Preceptor's user or password, or its permissions are not sufficient. Nothing was accepted. "
            "The service's log states the reason",
            10,
        )
    if _begins(error, "MISCONF") and "No space left" in str(error):
        return "The disk of Redis has no room left, and it takes no writes. Nothing was accepted. Free or add space", 10
    if _begins(error, "MISCONF"):
        return "Redis cannot write to its disk and rejects writes. Nothing was accepted. Repair or free its disk", 10
    return "Redis does not answer. Nothing was accepted; send the same request again in a few seconds", 2


def _begins(error: Exception, *words: str) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith(words)
