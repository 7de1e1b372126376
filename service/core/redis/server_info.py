"""Configuration and state of the Redis server, and recommended changes."""

from dataclasses import dataclass
from typing import Any, Final, cast

from . import keys
from .client import RedisClient, translated

_OLDEST: Final = 7
"""Major version of the oldest supported server."""


@dataclass(frozen=True)
class RedisServer:
    """The result of one INFO command.

    Attributes
    ----------
    run_id
        Changes with each start of the server.
    memory, maxmemory
        Bytes; 0 means no limit.
    policy
        What is evicted when the memory is full.
    logged
        Whether an append-only file is written.
    """

    run_id: str
    version: str
    memory: int
    maxmemory: int
    policy: str
    logged: bool

    @classmethod
    async def ask(cls, client: RedisClient) -> "RedisServer":
        """Query the server.

        Raises
        ------
        StateUnavailable
        """
        with translated():
            info = cast("dict[str, Any]", await cast(Any, client).info())
        return cls(
            run_id=str(info.get("run_id", "")),
            version=str(info.get("redis_version", "")),
            memory=int(info.get("used_memory", 0)),
            maxmemory=int(info.get("maxmemory", 0)),
            policy=str(info.get("maxmemory_policy", "")),
            logged=bool(int(info.get("aof_enabled", 0))),
        )

    def advice(self) -> str:
        """Recommended configuration changes with their reasons; empty if there are none."""
        found: list[str] = []
        if self.version.split(".")[0].isdecimal() and int(self.version.split(".")[0]) < _OLDEST:
            found.append(f"it is version {self.version}: use {_OLDEST}.0 or later")
        if self.policy.startswith("allkeys"):
            found.append(f"maxmemory-policy {self.policy} evicts jobs: set volatile-lru")
        elif self.policy == "noeviction" and self.maxmemory:
            found.append("maxmemory-policy noeviction stops all work when the caches are full: set volatile-lru")
        if not self.logged:
            found.append("appendonly is off, so each restart costs a rebuild and the progress of jobs: set it to yes")
        return "; ".join(found)


async def check_writable(client: RedisClient) -> None:
    """Write a small key. A server that is full, a replica, or unable to write its log still answers reads.

    Raises
    ------
    StateUnavailable
        The detail states which of these it is.
    """
    with translated():
        await client.set(keys.TRIED, "1")
