"""Health check of a container: `healthcheck.py service` or `healthcheck.py worker`.

The service is healthy if it answers. A worker has no port; it is healthy if its last heartbeat in Redis is recent.
Neither checks its dependencies: a restart would not repair them. `/health/ready` reports the state of the whole stack.
"""

import socket
import sys
import urllib.request
from typing import Final, cast

import redis
from redis.exceptions import RedisError

from service.core.lanes import LANES
from service.core.redis import keys
from service.core.settings import Settings

_TIMEOUT: Final = 5.0
_LEASES: Final = 3.0
"""Number of leases without a heartbeat after which a worker counts as hanging. It sends three heartbeats a lease."""


def service_problem(settings: Settings) -> str | None:
    """What is wrong with the service in this container; None if it answers."""
    url = f"http://127.0.0.1:{settings.port}/health/live"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT):
            return None
    except OSError as error:
        return f"{url}: {error}"


def worker_problem(settings: Settings, host: str) -> str | None:
    """What is wrong with the worker on this host; None if its last heartbeat is recent.

    Workers are named `<host>-<process>`; each container has a different host name.
    """
    if settings.redis_url is None:
        return "REDIS_URL is not set"
    try:
        with redis.Redis.from_url(
            settings.redis_url, decode_responses=True, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT
        ) as client:
            # Heartbeats use Redis' clock; this container's may differ.
            seconds, _ = cast("tuple[int, int]", client.time())
            since = seconds - _LEASES * settings.lease_seconds
            for lane in LANES:
                names = client.zrangebyscore(keys.workers(lane), since, "+inf")
                if any(str(name).rpartition("-")[0] == host for name in names):
                    return None
    except RedisError as error:
        return f"Redis: {error}"
    return f"no heartbeat from {host} in the last {_LEASES * settings.lease_seconds:.0f} s"


def main(arguments: list[str]) -> int:
    """Exit status 0 if healthy; otherwise 1, with the reason on standard output."""
    if arguments == ["service"]:
        problem = service_problem(Settings())
    elif arguments == ["worker"]:
        problem = worker_problem(Settings(), socket.gethostname())
    else:
        problem = "usage: healthcheck.py service|worker"
    print(problem or "ok")
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
