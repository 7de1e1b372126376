"""What must hold when the fire is out."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import httpx2
import redis

from preceptor.contract.versions import CONTRACT
from service.core.lanes import LANES
from service.core.redis import keys

from .deployment import Deployment
from .load import TERMINAL, Accepted, Load

_DOCKET: Final = re.compile(r"preceptor-(recommend|distill)(:|$)")
_LEAVING_SECONDS: Final = 15.0
"""What workers start for models ends after they have: it notices that its socket was closed."""
_JOB_FILES: Final = re.compile(r"request\.json|outcome\.json|\d+/result\.json|\d+/student")


def every_job_ended_once(load: Load, waiting: Iterable[Accepted]) -> list[str]:
    """Each acknowledged job has ended, in a way it may end, and still says what was first seen of it."""
    wrong = [f"{job.id} ({job.kind.name}) has not ended" for job in waiting]
    for job in load.accepted.values():
        if job.seen is None:
            continue
        if job.seen[0] not in job.kind.ends:
            wrong.append(f"{job.id} ({job.kind.name}) ended as {job.seen}")
        if (now := load.end_of(job)) != job.seen:
            wrong.append(f"{job.id} ({job.kind.name}) said {job.seen} once and says {now} now")
    return wrong


def every_log_has_one_end(load: Load) -> list[str]:
    """The event log of each job has exactly one end, and it comes last."""
    wrong: list[str] = []
    for job in load.accepted.values():
        with httpx2.stream("GET", f"{load.url}/v1/jobs/{job.id}/events", timeout=30) as stream:
            events = [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]
        ends = [event["data"].get("status") in TERMINAL for event in events]
        if sum(ends) != 1 or not ends[-1]:
            wrong.append(f"{job.id} ({job.kind.name}) has {sum(ends)} ends among {len(events)} events")
    return wrong


def results_are_those_of_a_calm_run(load: Load) -> list[str]:
    """Each job that succeeded says what an undisturbed run says."""
    wrong: list[str] = []
    for job in load.accepted.values():
        if job.seen is None or job.seen[0] != "succeeded" or job.kind.name not in load.expected:
            continue
        if job.seen[1] != load.expected[job.kind.name]:
            places = differences(json.loads(job.seen[1]), json.loads(load.expected[job.kind.name]))
            wrong.append(f"{job.id} ({job.kind.name}): {'; '.join(places[:5])}")
    return wrong


def no_stale_checkpoint(deployment: Deployment) -> list[str]:
    """No worker's checkpoint was kept that began after a later owner's was."""
    wrong: list[str] = []
    latest: dict[str, list[tuple[int, int]]] = {}
    rows = [line.split() for line in _lines(deployment.saves)]
    for id, fence, begun, ended, verdict in sorted(rows, key=lambda row: int(row[3])):
        if verdict != "kept":
            continue
        if any(other > int(fence) and done < int(begun) for other, done in latest.get(id, ())):
            wrong.append(f"{id}: a checkpoint under fence {fence} was kept after a later owner's")
        latest.setdefault(id, []).append((int(fence), int(ended)))
    return wrong


def no_leaked_key(deployment: Deployment) -> list[str]:
    """Redis holds the records of the store's jobs, and nothing that is under way."""
    wrong: list[str] = []
    with redis.Redis.from_url(deployment.redis.url, decode_responses=True) as client:
        must_be_empty = [keys.ACTIVE, keys.UNSWEPT, keys.REBUILD_LOCK]
        for lane in LANES:
            must_be_empty += [keys.waiting(lane), keys.leases(lane), keys.delayed(lane)]
            for contract in range(1, CONTRACT + 1):
                must_be_empty += [keys.turns(lane, contract), keys.quick_turns(lane, contract)]
            stream = f"{keys.lane(lane)}:stream"
            if client.exists(stream) and (left := client.xlen(stream)):
                wrong.append(f"{left} messages are left in {stream}")
        wrong += [f"{key} is not empty" for key in must_be_empty if client.exists(key)]
        in_store = {path.name for path in (deployment.store / "jobs").iterdir()}
        in_redis = {str(key).removeprefix(keys.job("")) for key in client.scan_iter(keys.job("*"))}
        wrong += [f"{id} is in the store and not in Redis" for id in sorted(in_store - in_redis)]
        wrong += [f"{id} is in Redis and not in the store" for id in sorted(in_redis - in_store)]
        families = Counter(_family(str(key)) for key in client.scan_iter(count=1000))
        wrong += [f"{count} keys of an unknown kind: {name}" for name, count in families.items() if name[0] == "?"]
        expiring = set(map(str, client.zrange(keys.EXPIRING, 0, -1)))
        events = set(map(str, client.scan_iter(keys.events("*"))))
        wrong += [f"{key} never expires" for key in sorted(events - expiring)]
    return wrong


def no_leaked_file(deployment: Deployment) -> list[str]:
    """The store holds what jobs and resources need; temporary folders belong to processes that live."""
    wrong: list[str] = []
    students: set[str] = set()
    for job in (deployment.store / "jobs").iterdir():
        files = [str(path.relative_to(job)) for path in job.rglob("*") if path.is_file()]
        wrong += [f"jobs/{job.name}/{name}" for name in files if not _JOB_FILES.fullmatch(name)]
        results = [name for name in files if name.endswith("result.json")]
        outcome = json.loads((job / "outcome.json").read_text()) if "outcome.json" in files else {"status": "none"}
        if len(results) != (outcome["status"] == "succeeded"):
            wrong.append(f"jobs/{job.name}: {len(results)} results of a job that ended as {outcome['status']}")
        if results and job.name.startswith("dst_"):
            students.add(json.loads((job / results[0]).read_text())["student"])
    kept = {path.name for path in (deployment.store / "students").glob("*") if any(path.rglob("*.*"))}
    wrong += [f"students/{id} belongs to no job" for id in sorted(kept - students)]
    wrong += [f"students/{id} is gone" for id in sorted(students - kept)]
    wrong += [f"{path} was written by half" for path in deployment.store.rglob("*#*")]
    return wrong


def nothing_temporary(deployment: Deployment) -> list[str]:
    """After all has ended: no temporary file."""
    places = [deployment.store / ".staging", deployment.folder / "data" / "scratch" / "work", deployment.temporary]
    return [f"{path} is left" for place in places if place.is_dir() for path in place.iterdir()]


def no_leaked_process(deployment: Deployment) -> list[str]:
    """After all has ended: no process, no socket."""
    deadline = time.monotonic() + _LEAVING_SECONDS
    while (wrong := _living(deployment)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return wrong


def _living(deployment: Deployment) -> list[str]:
    mark = str(deployment.folder).encode()
    wrong: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        except OSError:
            continue
        # What workers start for the models of strangers keeps TMPDIR alone.
        if b"TMPDIR=" + mark in environment or mark in command:
            wrong.append(f"process {process.name} lives: {command.replace(bytes(1), b' ').decode()[:200]}")
    sockets = Path("/proc/net/unix")
    if sockets.exists():
        path = str(deployment.redis.socket)
        wrong += [f"socket is open: {line}" for line in _lines(sockets) if line.endswith(path)]
    return wrong


def differences(found: Any, expected: Any, place: str = "") -> list[str]:
    """Where two documents differ."""
    if isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        return [text for key in found for text in differences(found[key], expected[key], f"{place}/{key}")]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [text for number, pair in pairs for text in differences(*pair, f"{place}/{number}")]
    return [] if found == expected else [f"{place} is {str(found)[:60]}, not {str(expected)[:60]}"]


def _family(key: str) -> str:
    if _DOCKET.match(key):
        return "docket"
    rest = key.removeprefix(keys.PREFIX)
    known = ("job:", "jobs:", "jobs", "events:", "lane:", "idempotency:", "cache:", "index", "server", "expiring")
    more = ("teachers", "probes", "label-sets", "students", "audits", "webhooks", "deliveries", "figures", "tried")
    return rest.split(":")[0] if rest.startswith((*known, *more)) else f"? {key}"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def described(found: dict[str, list[str]]) -> list[dict[str, Any]]:
    """A row a rule, for the report."""
    return [{"invariant": name, "holds": not wrong, "violations": wrong[:10]} for name, wrong in found.items()]
