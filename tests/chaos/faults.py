"""What goes wrong. Each fault is done and, after a moment, undone."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
from redis.exceptions import RedisError

from .deployment import Deployment


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes
    ----------
    weight
        How often, against the others.
    kills
        Whether a process dies of it.
    run
        Does it, undoes it, and says whether it could be done.
    """

    name: str
    weight: int
    kills: bool
    run: Callable[[Deployment, random.Random], bool]


def _kill_worker(deployment: Deployment, rng: random.Random) -> bool:
    return _kill(deployment, rng, rng.choice(deployment.workers()))


def _kill(deployment: Deployment, rng: random.Random, name: str) -> bool:
    # A new clock for its next life.
    deployment.clocks[name] = rng.choice([0.0, 0.0, -3600.0, 3600.0])
    return deployment.signal(name, signal.SIGKILL)


def _drain_worker(deployment: Deployment, rng: random.Random) -> bool:
    return deployment.signal(rng.choice(deployment.workers()), signal.SIGTERM)


def _pause_worker(deployment: Deployment, rng: random.Random) -> bool:
    """Longer than its lease: it comes back as a stale one."""
    name = rng.choice(deployment.workers())
    done = deployment.signal(name, signal.SIGSTOP)
    time.sleep(rng.uniform(3.5, 6.0))
    deployment.signal(name, signal.SIGCONT)
    return done


def _cut_worker(deployment: Deployment, rng: random.Random) -> bool:
    """The worker goes on, reaches the store, and hears nothing of Redis: mostly beyond its lease."""
    name = rng.choice(list(deployment.wires))
    deployment.wires[name].silence()
    time.sleep(rng.uniform(1.0, 8.0))
    deployment.wires[name].heal()
    return deployment.pid(name) is not None


def _kill_service(deployment: Deployment, rng: random.Random) -> bool:
    return _kill(deployment, rng, "service")


def _kill_redis(deployment: Deployment, rng: random.Random) -> bool:
    return deployment.signal("redis", signal.SIGKILL)


def _restart_redis(deployment: Deployment, rng: random.Random) -> bool:
    return deployment.signal("redis", signal.SIGTERM)


def _pause_redis(deployment: Deployment, rng: random.Random) -> bool:
    done = deployment.signal("redis", signal.SIGSTOP)
    time.sleep(rng.uniform(1.0, 5.0))
    deployment.signal("redis", signal.SIGCONT)
    return done


def _cut_connections(deployment: Deployment, rng: random.Random) -> bool:
    """All connections to Redis break, again and again for a second."""
    until = time.monotonic() + 1.0
    done = False
    while time.monotonic() < until:
        done |= _tell(deployment, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        _tell(deployment, "CLIENT", "KILL", "TYPE", "pubsub")
        time.sleep(0.1)
    return done


def _fill_redis(deployment: Deployment, rng: random.Random) -> bool:
    done = _tell(deployment, "CONFIG", "SET", "maxmemory", "1mb")
    time.sleep(rng.uniform(1.0, 4.0))
    while not _tell(deployment, "CONFIG", "SET", "maxmemory", "0"):
        time.sleep(0.1)
    return done


def _flush_redis(deployment: Deployment, rng: random.Random) -> bool:
    return _tell(deployment, "FLUSHALL")


def _store_read_only(deployment: Deployment, rng: random.Random) -> bool:
    done = deployment.volume.read_only()
    if done:
        time.sleep(rng.uniform(1.0, 4.0))
    deployment.volume.writable()
    return done


def _store_full(deployment: Deployment, rng: random.Random) -> bool:
    done = deployment.volume.fill()
    if done:
        time.sleep(rng.uniform(1.0, 4.0))
    deployment.volume.empty()
    return done


def _tell(deployment: Deployment, *command: str) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(deployment.redis.socket), socket_timeout=5) as client:
            client.execute_command(*command)
    except (RedisError, OSError):
        return False
    return True


FAULTS = (
    Fault("worker killed (-9), its clock changed", 10, True, _kill_worker),
    Fault("worker drained (TERM)", 2, False, _drain_worker),
    Fault("worker stopped beyond its lease (STOP)", 3, False, _pause_worker),
    Fault("worker cut off from Redis", 3, False, _cut_worker),
    Fault("service killed (-9), its clock changed", 4, True, _kill_service),
    Fault("Redis killed (-9)", 4, True, _kill_redis),
    Fault("Redis restarted (TERM)", 1, False, _restart_redis),
    Fault("Redis stopped (STOP)", 2, False, _pause_redis),
    Fault("Redis connections cut", 2, False, _cut_connections),
    Fault("Redis out of memory", 2, False, _fill_redis),
    Fault("Redis flushed", 1, False, _flush_redis),
    Fault("store read-only", 2, False, _store_read_only),
    Fault("store full", 2, False, _store_full),
)
