"""What a stack takes at a moment: memory of its processes, of Redis, keys of jobs, files of jobs."""

import os
from pathlib import Path
from typing import Any, cast

import redis

from service.cli.dev_stack import Stack
from service.core.lanes import LANES
from service.core.redis import keys

from .stage import redis_pid, resident


def redis_of(stack: Stack) -> Any:
    """A client of the stack's Redis (untyped: its answers have as many types as it has commands)."""
    assert stack.embedded is not None
    return cast(Any, redis.Redis).from_url(stack.embedded.url, decode_responses=True)


def footprint(stack: Stack) -> dict[str, float]:
    """Memory in MiB; jobs known and waiting; keys; what there is of jobs in Redis and in the store."""
    assert stack.embedded is not None
    with redis_of(stack) as client:
        used = int(client.info("memory")["used_memory"])
        known = int(client.zcard(keys.order("jobs")))
        counts = {
            "redis_used_mib": used / 2**20,
            "redis_mib": resident(redis_pid(stack)),
            "jobs_known": known,
            "jobs_waiting": sum(int(client.zcard(keys.waiting(lane))) for lane in LANES),
            "keys": int(client.dbsize()),
            "of_jobs_in_redis": known + _members(client) + _keys(client, "job:*") + _keys(client, "events:*"),
        }
    files, folders = _counted(stack.embedded.folder.parent / "store" / "jobs")
    log = sum(path.stat().st_size for path in (stack.embedded.folder / "appendonlydir").iterdir())
    return {
        "service_mib": resident(stack.process("service").pid),
        "worker_mib": resident(stack.process("worker-recommend").pid),
        **counts,
        "append_only_file_mib": log / 2**20,
        "files": files,
        "folders": folders,
    }


def ended_jobs(client: Any) -> int:
    """How many jobs have ended since the stack began."""
    fields = client.hgetall(keys.COUNTERS)
    return sum(int(value) for name, value in fields.items() if name.startswith("jobs_ended|"))


def _members(client: Any) -> int:
    """Entries of the sets and sorted sets that name jobs."""
    sorted_sets = (keys.ENDED, keys.EXPIRING)
    sets = (keys.ACTIVE, keys.UNSWEPT, keys.UNANNOUNCED)
    return sum(int(client.zcard(key)) for key in sorted_sets) + sum(int(client.scard(key)) for key in sets)


def _keys(client: Any, pattern: str) -> int:
    return sum(1 for _ in client.scan_iter(keys.PREFIX + pattern, count=5000))


def _counted(root: Path) -> tuple[int, int]:
    files = folders = 0
    for _, inner, names in os.walk(root):
        files += len(names)
        folders += len(inner)
    return files, folders
