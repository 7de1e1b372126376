"""Connections to Redis, and the translation of its failures."""

from collections.abc import Generator
from contextlib import contextmanager

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
    return redis_async.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        decode_responses=decode,
        socket_timeout=10,
        socket_connect_timeout=3,
        health_check_interval=15,
        max_connections=256,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 2),
        retry_on_error=[RedisConnectionError, BusyLoadingError],
    )


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
