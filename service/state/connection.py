"""Connections to Redis, and the translation of its failures."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import redis.asyncio as redis_async
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError as RedisConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError as RedisTimeoutError,
)

from .errors import StateUnavailable

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
    except OutOfMemoryError as error:
        raise StateUnavailable(
            "Redis is out of memory and refused the write. Nothing was accepted. Raise its maxmemory, or wait "
            "until running jobs have ended",
            headers={"Retry-After": "10"},
        ) from error
    except (RedisConnectionError, RedisTimeoutError, ReadOnlyError, RedisError, OSError) as error:
        raise StateUnavailable(
            "Redis does not answer. Nothing was accepted; the same request can be sent again in some seconds",
            headers={"Retry-After": "2"},
        ) from error
