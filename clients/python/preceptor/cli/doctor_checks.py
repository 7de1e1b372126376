"""What `preceptor doctor` looks at: a deployment as a caller sees it, one finding a subject."""

import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version as installed
from typing import Final, Literal
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from ..client import Client
from ..contract.health import Health
from ..core.settings import Settings
from ..errors import (
    AuthenticationError,
    JobFailedError,
    PermissionDeniedError,
    PreceptorError,
    WaitTimeoutError,
)
from ..transport.httpx_options import client_options

Verdict = Literal["ok", "note", "fix", "skipped"]
Reach = Literal["this machine", "a private network", "the internet"]

OLDEST: Final = {"recommend": 60.0, "distill": 3600.0}
"""Seconds that a job may wait in a lane: the thresholds of the alert PreceptorQueueOld."""

_ROUND_TRIP: Final = 60.0
_SLOW: Final = 5.0
_SKEW_NOTED: Final = 30.0
_SKEW_WRONG: Final = 300.0
"""Seconds. Stores refuse signatures, and certificates seem invalid, from a few minutes on."""

_SAMPLE: Final = re.compile(r'^(preceptor_lane_\w+)\{lane="(\w+)"\} (\S+)$', re.MULTILINE)
_PROGRAM: Final = re.compile(
    r'^preceptor_worker_info\{(?=[^}]*\blane="(\w+)")(?=[^}]*\bversion="([^"]*)")', re.MULTILINE
)


class Finding(BaseModel):
    """What was seen of one subject, and what to do about it."""

    subject: str
    verdict: Verdict
    seen: str
    advice: str = ""


class Examination:
    """Looks at one deployment.

    Parameters
    ----------
    client
        Asks with the caller's key.
    wall
        A wall clock, Unix seconds.
    reach
        From where a host can be reached.
    """

    def __init__(
        self,
        client: Client,
        *,
        round_trip: bool = True,
        wall: Callable[[], float] = time.time,
        reach: Callable[[str], Reach] | None = None,
    ) -> None:
        self._client = client
        self._round_trip = round_trip
        self._wall = wall
        address = urlsplit(client.base_url)
        self._encrypted = address.scheme == "https"
        self._reach: Reach = (reach or reach_of)(address.hostname or "")
        keyless = replace(Settings.build(client.base_url, None, 10.0, 0), api_key=None)
        self._stranger = httpx2.Client(**client_options(keyless))

    def findings(self) -> Iterator[Finding]:
        """Look at everything that can be looked at. What hangs on something that is missing is skipped."""
        with self._stranger:
            try:
                live = self._stranger.get("/health/live")
            except httpx2.HTTPError as error:
                yield _fix("address", f"{self._client.base_url}: {error or type(error).__name__}", _NOT_THERE)
                return
            if problem := _not_ours(live):
                yield _fix("address", problem, "Give the address of the service with --url or PRECEPTOR_URL")
                return
            milliseconds = live.elapsed.total_seconds() * 1000
            yield _ok("address", f"{self._client.base_url} answers in {milliseconds:.0f} ms; open to {self._reach}")
            yield self._encryption()
            yield self._clock(live)
            try:
                listed = self._stranger.get("/v1/jobs", params={"limit": 1})
            except httpx2.HTTPError as error:
                yield _fix("keys", f"/v1/jobs: {error or type(error).__name__}", "Look at the service's log")
            else:
                yield self._keys(listed)
        try:
            service = self._client.version()
        except (AuthenticationError, PermissionDeniedError) as error:
            yield _fix("your key", str(error), "Give a good one with --api-key or PRECEPTOR_API_KEY")
            return
        except PreceptorError as error:
            yield _fix("version", str(error), "Look at the service's log")
            return
        yield _versions(installed("preceptor"), service.service)
        working = True
        for finding in self._ready():
            working = working and finding.verdict != "fix"
            yield finding
        yield from self._lanes(service.service)
        if not self._round_trip:
            yield Finding(subject="round trip", verdict="skipped", seen="not wanted")
        elif not working:
            yield Finding(subject="round trip", verdict="skipped", seen="it needs what is missing above")
        else:
            yield self._recommendation()

    def _encryption(self) -> Finding:
        if self._encrypted:
            return _ok("encryption", "HTTPS, with a certificate that this machine trusts")
        if self._reach == "this machine":
            return _ok("encryption", "plain HTTP, which does not leave this machine")
        seen = f"plain HTTP over {self._reach}: others on the way can read keys and data"
        advice = "Put a proxy with TLS before the service (docs/deployment.md), and use its https:// address"
        return _fix("encryption", seen, advice) if self._reach == "the internet" else _note("encryption", seen, advice)

    def _clock(self, answer: httpx2.Response) -> Finding:
        middle = self._wall() - answer.elapsed.total_seconds() / 2
        try:
            theirs = parsedate_to_datetime(answer.headers["date"])
        except (KeyError, ValueError):
            return Finding(subject="clock", verdict="skipped", seen="the answer has no readable Date")
        ahead = theirs.replace(tzinfo=theirs.tzinfo or UTC).timestamp() + 0.5 - middle  # Date has whole seconds.
        if abs(ahead) <= _SKEW_NOTED:
            return _ok("clock", f"{max(abs(ahead) - 0.5, 0):.0f} s apart from this machine's")
        here = datetime.fromtimestamp(middle, UTC).isoformat(timespec="seconds")
        seen = f"the service's is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's ({here})"
        advice = "Let both follow NTP: expiry of keys, certificates and signatures of a store hang on it"
        return _fix("clock", seen, advice) if abs(ahead) > _SKEW_WRONG else _note("clock", seen, advice)

    def _keys(self, listed: httpx2.Response) -> Finding:
        if listed.status_code == 401:
            return _ok("keys", "the service asks for an API key")
        if listed.status_code != 200:
            return _fix(
                "keys", f"a request without a key was answered with {listed.status_code}", "Look at the service's log"
            )
        if self._reach == "this machine":
            return _ok("keys", "none is asked for; the address leads to this machine alone")
        seen = f"none is asked for: everyone on {self._reach} can read and change everything"
        advice = (
            "Create one (`preceptor-server keys create --name operator --scope admin`), set PRECEPTOR_AUTH=on and "
            "start the service again"
        )
        return _fix("keys", seen, advice) if self._reach == "the internet" else _note("keys", seen, advice)

    def _ready(self) -> Iterator[Finding]:
        try:
            health = self._client.health()
        except PreceptorError as error:
            yield _fix("readiness", str(error), "Look at the service's log")
            return
        full = any("no room left" in check.detail for check in health.checks.values() if check.status != "ok")
        for name, check in health.checks.items():
            if check.status == "ok" and check.advice:
                yield _note(name, check.advice, _IMPROVE)
            elif check.status == "ok":
                yield _ok(name, check.detail or "ok")
            else:
                yield _fix(name, check.detail or "failing", _mended(name.partition(":")[0], check.detail, full=full))

    def _lanes(self, service: str) -> Iterator[Finding]:
        try:
            metrics = self._client.metrics()
        except PreceptorError as error:
            yield _note("queues", f"/metrics: {error}", "")
            return
        samples = _SAMPLE.findall(metrics)
        others = sorted({(lane, found) for lane, found in _PROGRAM.findall(metrics) if found != service})
        if others:
            seen = ", ".join(f"{lane} runs {found or 'an unknown version'}" for lane, found in others)
            yield _note("workers", f"{seen}, the service {service}", _OLDER)
        values = {(name.removeprefix("preceptor_lane_"), lane): float(value) for name, lane, value in samples}
        for lane, limit in OLDEST.items():
            if ("oldest_seconds", lane) not in values:
                yield Finding(subject=f"queue:{lane}", verdict="skipped", seen="/metrics says nothing of it")
                continue
            waiting, oldest = values.get(("waiting_jobs", lane), 0), values["oldest_seconds", lane]
            running, workers = values.get(("running_jobs", lane), 0), values.get(("workers", lane), 0)
            seen = f"workers {workers:.0f}, running jobs {running:.0f}, waiting {waiting:.0f}"
            if waiting:
                seen += f", the oldest for {oldest:.0f} s"
            if oldest > limit:
                yield _fix(f"queue:{lane}", seen, f"Add workers: `preceptor-server worker --lane {lane}`")
            else:
                yield _ok(f"queue:{lane}", seen)

    def _recommendation(self) -> Finding:
        subject, started = "round trip", time.perf_counter()
        try:
            job = self._client.recommendations.create(["cat", "dog"], candidates={"doctor": ["lion", "wolf"]}, wait=5)
            try:
                job.wait(timeout=_ROUND_TRIP)
            except WaitTimeoutError:
                with suppress(PreceptorError):
                    job.cancel()
                return _fix(
                    subject, f"{job.id} had not ended after {_ROUND_TRIP:.0f} s; it was canceled", _LOOK_AT_WORKERS
                )
        except PermissionDeniedError as error:
            return Finding(subject=subject, verdict="skipped", seen=str(error))
        except JobFailedError as error:
            return _fix(subject, str(error), _LOOK_AT_WORKERS)
        except PreceptorError as error:
            return _fix(subject, str(error), "Look at the service's log")
        seconds = time.perf_counter() - started
        seen = f"a recommendation of two class names took {seconds:.2f} s"
        if seconds > _SLOW:
            return _note(subject, seen, "Run it again: a worker's first job loads models. If it stays, add workers")
        return _ok(subject, seen)


_NOT_THERE: Final = (
    "Is the service running there? `make up` or `docker compose up` starts it; --url or PRECEPTOR_URL gives its address"
)
_OLDER: Final = "An upgrade is not complete: replace them (docs/operations.md#upgrades-with-running-jobs)"
_LOOK_AT_WORKERS: Final = "Look at the log of the recommend workers"
_IMPROVE: Final = "Change these settings (docs/operations.md#redis-settings)"
_MEND: Final = {
    "redis": "Start Redis, or fix the network to it (docs/operations.md#preceptorredisdown)",
    "store": "Make room, or mend its credentials (docs/operations.md#preceptorstorefailing)",
    "index": "Wait for it. If it stays, the service's log says why (docs/operations.md#preceptorredisdown)",
    "worker": "Start one; its log says why it ended (docs/operations.md#preceptornoworker)",
}

_MEND_REDIS: Final = {
    "no room left": "Free or add space on the disk of Redis; its work resumes by itself",
    "disk": "Free or add space on the disk of Redis, or make its folder writable; its work resumes by itself",
    "out of memory": "Raise its maxmemory, or wait until running jobs have ended",
    "replica": "Set REDIS_URL to the primary server",
    "user or password": "Correct the user and the password in REDIS_URL, or what the user may do",
}
"""What to do by a phrase of what the service reports: a Redis that answers need not be started."""


def _mended(what: str, seen: str, *, full: bool) -> str:
    """What to do about a check that fails.

    Parameters
    ----------
    full
        Whether a disk has no room left: an embedded Redis on it cannot even start.
    """
    if what == "redis":
        for phrase, advice in _MEND_REDIS.items():
            if phrase in seen:
                return f"{advice} (docs/operations.md#preceptorredisdown)"
        if full:
            return "Make room for the store first: a Redis on the same disk cannot start without it"
    return _MEND.get(what, "Look at its log")


def reach_of(host: str) -> Reach:
    """From where a host can be reached, judged by the addresses that its name has here."""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return "a private network"  # A name that only a proxy knows.
    addresses = [ipaddress.ip_address(each) for each in found]
    if any(each.is_global for each in addresses):
        return "the internet"
    return "this machine" if all(each.is_loopback for each in addresses) else "a private network"


def _versions(ours: str, theirs: str) -> Finding:
    seen = f"client {ours}, service {theirs}"
    if ours.split(".")[:2] == theirs.split(".")[:2]:
        return _ok("version", seen)
    return _fix("version", seen, f"Bring them together: `pip install 'preceptor=={theirs}'`, or upgrade the service")


def _not_ours(answer: httpx2.Response) -> str | None:
    """Why an answer does not come from a Preceptor service; None where it does."""
    if answer.is_redirect:
        return f"it answers {answer.status_code} and points to {answer.headers.get('location', 'nowhere')}"
    try:
        Health.model_validate_json(answer.content)
    except ValidationError:
        return f"it answers {answer.status_code}, but not as Preceptor does: a proxy, or another program"
    return None


def _ok(subject: str, seen: str) -> Finding:
    return Finding(subject=subject, verdict="ok", seen=seen)


def _note(subject: str, seen: str, advice: str) -> Finding:
    return Finding(subject=subject, verdict="note", seen=seen, advice=advice)


def _fix(subject: str, seen: str, advice: str) -> Finding:
    return Finding(subject=subject, verdict="fix", seen=seen, advice=advice)
