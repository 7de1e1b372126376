"""The one place where Redis keys are spelled.

Cache keys carry a TTL and are the only ones that Redis may evict (`volatile-lru`).
"""

from typing import Final

PREFIX: Final = "preceptor:"

MARKER: Final = PREFIX + "index"
"""Present while the index mirrors the store, with a new value each time it is built; a flushed server lacks it."""

REBUILD_LOCK: Final = PREFIX + "lock:rebuild"
REBUILDING: Final = PREFIX + "rebuilding"
"""Set before an index is rebuilt: a rebuilding that no longer finds its own mark was itself lost."""
ACTIVE: Final = PREFIX + "jobs:active"
"""Set of the ids of all jobs without an end."""

EXPIRING: Final = PREFIX + "expiring"
"""Sorted set: keys that the reaper removes, by the time (ms) when it may. Not TTLs: Redis may evict those."""

ENDED: Final = PREFIX + "jobs:ended"
"""Sorted set: ids of ended jobs, by the time (ms) of their end."""

UNSWEPT: Final = PREFIX + "jobs:unswept"
"""Set of the ids of ended jobs whose leftovers in the store are still to be removed."""

UNANNOUNCED: Final = PREFIX + "webhooks:unannounced"
"""Set of the ids of ended jobs whose webhooks have not been looked up yet."""

DUE: Final = PREFIX + "webhooks:due"
"""Sorted set of `<webhook>:<message>`: what is to be delivered, by the time (ms) when it may be tried."""

SERVER: Final = PREFIX + "server"
"""The run id of the Redis server that the index was last compared with the store on."""

TRIED: Final = PREFIX + "tried"
"""Written to see whether Redis takes writes."""

FIGURES: Final = PREFIX + "figures"
"""Hash: every counter of the deployment."""

REPORTS: Final = PREFIX + "figures:workers"
"""Hash: worker name -> what it says of itself."""

WAKE_PREFIX: Final = PREFIX + "wake:"


def record(collection: str) -> str:
    """Hash: id -> JSON document."""
    return f"{PREFIX}{collection}"


def order(collection: str) -> str:
    """Sorted set of `<created ms>:<id>`, all of score 0, for cursor pagination."""
    return f"{PREFIX}{collection}:order"


def webhook_deliveries(webhook: str) -> str:
    """Sorted set of `<created ms>:<message>`, all of score 0: the deliveries of a webhook."""
    return f"{PREFIX}webhooks:{webhook}:deliveries"


def webhook_parked(webhook: str) -> str:
    """Sorted set of `<webhook>:<message>`: what is pending and waits until the disabled webhook is enabled."""
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
    """Channel: something happened to the job."""
    return WAKE_PREFIX + id


def waiting(lane: str) -> str:
    """Sorted set: ids of the jobs that wait in a lane, by the time they began to wait."""
    return f"{PREFIX}lane:{lane}:waiting"


def turns(lane: str, contract: int = 1) -> str:
    """Sorted set: ids of the jobs that wait in a lane and need this contract, by whose turn it is."""
    return f"{PREFIX}lane:{lane}:turns" + (f":{contract}" if contract > 1 else "")


def quick_turns(lane: str, contract: int = 1) -> str:
    """Sorted set: those of them that take milliseconds."""
    return f"{turns(lane, contract)}:quick"


def clocks(lane: str) -> str:
    """Hash: the turns that were served last, and the last turn of each caller."""
    return f"{PREFIX}lane:{lane}:clocks"


def leases(lane: str) -> str:
    """Sorted set: ids of a lane's running jobs, by the time (ms) at which their worker counts as lost."""
    return f"{PREFIX}lane:{lane}:leases"


def delayed(lane: str) -> str:
    """Sorted set: ids of a lane's jobs that wait before they are tried again, by the time (ms) when they may be."""
    return f"{PREFIX}lane:{lane}:delayed"


def workers(lane: str) -> str:
    """Sorted set: worker names by the time of their last sign of life."""
    return f"{PREFIX}lane:{lane}:workers"


def idempotency(digest: str) -> str:
    """Hash: what an Idempotency-Key stands for."""
    return f"{PREFIX}idempotency:{digest}"


def cache(kind: str, digest: str) -> str:
    """String with a TTL: a cached matrix."""
    return f"{PREFIX}cache:{kind}:{digest}"


def lane(name: str) -> str:
    """Name of a lane's docket."""
    return f"preceptor-{name}"
