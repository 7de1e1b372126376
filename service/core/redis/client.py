"""Connections to Redis, and the translation of its failures."""

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
from ..failure_log import log_cause

_CONNECTIONS: Final = 64
RedisClient = redis_async.Redis


def connect(url: str, *, decode: bool) -> RedisClient:
    """A client with a connection pool; connects at first use.

    Parameters
    ----------
    url
        `redis://`, `rediss://` or `unix://`.
    decode
        Whether answers are text; the caches need bytes.
    """
    # Blocking: whoever comes when all connections are in use waits for one, as a thousand listeners do at each event.
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
    """Turn a failure of Redis into `StateUnavailable`, which a caller may retry."""
    try:
        yield
    except (RedisError, OSError) as error:
        log_cause("Redis", error)
        detail, seconds = _meaning(error)
        raise StateUnavailable(detail, headers={"Retry-After": str(seconds)}) from error


def _meaning(error: Exception) -> tuple[str, int]:
    """What a caller is told, and after how many seconds to come again."""
    if isinstance(error, OutOfMemoryError):
        return (
            "Redis is out of memory and refused the write. Nothing was accepted. Raise its maxmemory, or wait "
            "until running jobs have ended",
            10,
        )
    if isinstance(error, ReadOnlyError):
        return "Redis is a replica and takes no writes. Nothing was accepted. Connect to the primary server", 10
    if isinstance(error, AuthenticationError | NoPermissionError) or _begins(error, "NOAUTH", "WRONGPASS", "NOPERM"):
        return (
            "Redis refuses Preceptor's user or password, or does not allow it enough. Nothing was accepted. The "
            "operator finds the reason in the service's log",
            10,
        )
    if _begins(error, "MISCONF"):
        return "Redis cannot write to its disk and takes no writes. Nothing was accepted. Mend its disk", 10
    return "Redis does not answer. Nothing was accepted; the same request can be sent again in some seconds", 2


def _begins(error: Exception, *words: str) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith(words)
