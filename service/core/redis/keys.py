"""The names of all Redis keys; no other module spells them.

Only cache keys have a TTL, so only they can be evicted by Redis (`volatile-lru`).
"""

from typing import Final

PREFIX: Final = "preceptor:"

MARKER: Final = PREFIX + "index"
"""Present while the index mirrors the store, with a new value for each rebuild; missing on a flushed server."""

REBUILD_LOCK: Final = PREFIX + "lock:rebuild"
REBUILDING: Final = PREFIX + "rebuilding"
"""Set before an index is rebuilt. If it has another value at the end, the new index was lost, too."""
ACTIVE: Final = PREFIX + "jobs:active"
"""Set of the ids of all jobs that have not ended."""

EXPIRING: Final = PREFIX + "expiring"
"""Sorted set: keys to be removed by the reaper, by the time (ms) from which it may. Not TTLs: Redis may evict those."""

ENDED: Final = PREFIX + "jobs:ended"
"""Sorted set: ids of ended jobs, by the time (ms) of their end."""

UNSWEPT: Final = PREFIX + "jobs:unswept"
"""Set of the ids of ended jobs whose temporary objects in the store are still to be removed."""

UNANNOUNCED: Final = PREFIX + "webhooks:unannounced"
"""Set of the ids of ended jobs for which no webhook deliveries were created yet."""

DUE: Final = PREFIX + "webhooks:due"
"""Sorted set of `<webhook>:<message>`: pending deliveries, by the time (ms) from which they may be attempted."""

SERVER: Final = PREFIX + "server"
"""Run id of the Redis server on which the index was last compared with the store."""

TRIED: Final = PREFIX + "tried"
"""Written to test whether Redis accepts writes."""

COUNTERS: Final = PREFIX + "figures"
"""Hash: every counter of the deployment."""

REPORTS: Final = PREFIX + "figures:workers"
"""Hash: worker name -> its last report."""

WAKE_PREFIX: Final = PREFIX + "wake:"


def record(collection: str) -> str:
    """Hash: id -> JSON document."""
    return f"{PREFIX}{collection}"


def order(collection: str) -> str:
    """Sorted set of `<created ms>:<id>`, all of score 0, for cursor pagination."""
    return f"{PREFIX}{collection}:order"


def passing(collection: str) -> str:
    """Sorted set: ids of documents that are removed at a set time, by that time (ms). No list shows them."""
    return f"{PREFIX}{collection}:passing"


def webhook_deliveries(webhook: str) -> str:
    """Sorted set of `<created ms>:<message>`, all of score 0: the deliveries of a webhook."""
    return f"{PREFIX}webhooks:{webhook}:deliveries"


def webhook_parked(webhook: str) -> str:
    """Sorted set of `<webhook>:<message>`: pending deliveries of a disabled webhook, kept until it is enabled."""
    return f"{PREFIX}webhooks:{webhook}:parked"


def changes(collection: str) -> str:
    """Sorted set: ids of changed and deleted documents, by the revision of their last change."""
    return f"{PREFIX}{collection}:changes"


def revision(collection: str) -> str:
    """Counter of changes."""
    return f"{PREFIX}{collection}:revision"


def record_lock(collection: str, id: str) -> str:
    """Lock around a read-modify-write of one record."""
    return f"{PREFIX}lock:{collection}:{id}"


def job(id: str) -> str:
    """Hash: the job record."""
    return f"{PREFIX}job:{id}"


CALLERS: Final = PREFIX + "caller:"
"""Prefix of the sets of the unfinished jobs of each API key."""


def events(id: str) -> str:
    """Stream: the job's event log."""
    return f"{PREFIX}events:{id}"


def wake(id: str) -> str:
    """Channel: the job has changed."""
    return WAKE_PREFIX + id


def waiting(lane: str) -> str:
    """Sorted set: ids of the jobs queued in a lane, by the time at which they were queued."""
    return f"{PREFIX}lane:{lane}:waiting"


def turns(lane: str, contract: int = 1) -> str:
    """Sorted set: ids of the jobs queued in a lane that need this contract, in the order in which they run."""
    return f"{PREFIX}lane:{lane}:turns" + (f":{contract}" if contract > 1 else "")


def clocks(lane: str) -> str:
    """Hash: the last served turns, and the last turn of each caller."""
    return f"{PREFIX}lane:{lane}:clocks"


def leases(lane: str) -> str:
    """Sorted set: ids of a lane's running jobs, by the time (ms) at which their lease expires."""
    return f"{PREFIX}lane:{lane}:leases"


def delayed(lane: str) -> str:
    """Sorted set: ids of a lane's jobs with a delayed retry, by the time (ms) from which they may be retried."""
    return f"{PREFIX}lane:{lane}:delayed"


def workers(lane: str) -> str:
    """Sorted set: worker names by the time of their last heartbeat."""
    return f"{PREFIX}lane:{lane}:workers"


def idempotency(digest: str) -> str:
    """Hash: the request that an Idempotency-Key belongs to."""
    return f"{PREFIX}idempotency:{digest}"


def cache(kind: str, digest: str) -> str:
    """String with a TTL: a cached matrix."""
    return f"{PREFIX}cache:{kind}:{digest}"


def lane(name: str) -> str:
    """Name of a lane's docket."""
    return f"preceptor-{name}"
