"""Mixed jobs, submitted by callers who repeat a request until it is answered, and what each job should say."""

import json
import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

from preceptor import Client
from tests import digits_zoo

from .worker import POISON

TERMINAL: Final = frozenset({"succeeded", "failed", "canceled"})
_TIMED: Final = frozenset({"metrics.json", "events.out.tfevents.student"})
_VOLATILE: Final = frozenset({"timings", "seconds", "student", "cached", "items_per_second"})
_WORDS: Final = (
    ["cat", "tiger", "dog", "wolf", "horse", "zebra"],
    ["truck", "bus", "jet plane", "tram", "bicycle"],
    ["hammer", "saw", "drill", "wrench"],
    ["apple", "pear", "carrot", "bread", "cheese"],
    ["violin", "piano", "drum", "flute"],
)


@dataclass(frozen=True)
class Kind:
    """One request, sent many times.

    Attributes
    ----------
    share
        How often, against the others.
    cancel
        Whether its caller changes its mind at once.
    ends
        How it may end.
    """

    name: str
    path: str
    body: dict[str, Any] | None
    share: int
    cancel: bool = False
    ends: tuple[str, ...] = ("succeeded",)


@dataclass
class Accepted:
    """A job that was acknowledged, and the first end of it that anyone saw."""

    id: str
    kind: Kind
    seen: tuple[str, str] | None = None


@dataclass
class Load:
    """Submits jobs and watches them.

    Attributes
    ----------
    url
        Of the service.
    expected
        By kind, the result of a run that nothing disturbed.
    complaints
        What should not have been answered.
    """

    url: str
    kinds: list[Kind]
    expected: dict[str, str] = field(default_factory=dict)
    accepted: dict[str, Accepted] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    repeats: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    # One for all threads: each new client reads the machine's certificates. Connections are not kept, since the
    # processes at their other end are killed.
    _http: httpx2.Client = field(
        default_factory=lambda: httpx2.Client(timeout=15, limits=httpx2.Limits(max_keepalive_connections=0))
    )

    def submit(self, kind: Kind, deadline: float) -> Accepted | None:
        """Send one request until it is answered; None where the time ran out before."""
        answer = self._insist("POST", kind.path, kind.body, deadline)
        if answer is None:
            return None
        if answer.status_code not in (200, 202):
            self.complaints.append(f"{kind.name}: {answer.status_code} {answer.text[:300]}")
            return None
        id = answer.json()["id"]
        with self._lock:
            job = self.accepted.setdefault(id, Accepted(id, kind))
        if kind.cancel:
            self._insist("POST", f"/v1/jobs/{id}/cancel", None, deadline)
        return job

    def submit_until(self, deadline: float, rng: random.Random, pause: float) -> None:
        """Send random requests, one after the other."""
        while time.monotonic() < deadline:
            kind = rng.choices(self.kinds, [kind.share for kind in self.kinds])[0]
            self.submit(kind, deadline)
            time.sleep(rng.uniform(0, 2 * pause))

    def watch(self, deadline: float, stop: threading.Event | None = None) -> list[Accepted]:
        """Look at all jobs until each has ended; those that have not by then."""
        while True:
            with self._lock:
                waiting = [job for job in self.accepted.values() if job.seen is None]
            for job in waiting:
                if time.monotonic() > deadline:
                    break
                self._look(job)
            if time.monotonic() > deadline or (not waiting and (stop is None or stop.is_set())):
                return [job for job in waiting if job.seen is None]
            time.sleep(0.3)

    def end_of(self, job: Accepted) -> tuple[str, str] | None:
        """The job's status and result, in a form that equal results share; None while it has not ended."""
        try:
            answer = self._http.get(f"{self.url}/v1/jobs/{job.id}")
        except httpx2.HTTPError:
            return None
        if answer.status_code == 404:
            self.complaints.append(f"{job.id} was acknowledged and is unknown: {answer.text[:200]}")
            return "unknown", ""
        if answer.status_code != 200:
            return None
        found = answer.json()
        if found["status"] not in TERMINAL:
            return None
        if found["status"] == "failed":
            return "failed", found["error"]["type"].rsplit("/", 1)[-1]
        return found["status"], canonical(found["result"])

    def _look(self, job: Accepted) -> None:
        job.seen = self.end_of(job)

    def _insist(self, method: str, path: str, body: dict[str, Any] | None, deadline: float) -> httpx2.Response | None:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        while time.monotonic() < deadline:
            try:
                answer = self._http.request(method, f"{self.url}{path}", json=body, headers=key)
            except httpx2.HTTPError:
                answer = None
            if answer is not None and answer.status_code not in (429, 503, 507):
                return answer
            self.repeats += 1
            time.sleep(0.3)
        return None


def canonical(result: Any) -> str:
    """A result without what differs from run to run: times, and the name that a student got."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("name") in _TIMED:  # They tell how long each epoch took.
                return value["name"]
            return {key: without(inner) for key, inner in value.items() if key not in _VOLATILE}
        return [without(inner) for inner in value] if isinstance(value, list) else value

    return json.dumps(without(result), sort_keys=True)


def prepare(url: str, folder: Path) -> list[Kind]:
    """Register teachers and data; the kinds of jobs that use them."""
    kinds: list[Kind] = []
    candidates = [{"name": f"set {number}", "labels": labels} for number, labels in enumerate(_WORDS)]
    for number, labels in enumerate(_WORDS):
        body = {"student": {"labels": labels[:3]}, "candidates": candidates}
        kinds.append(Kind(f"label lists {number}", "/v1/recommendations", body, share=12))
    body = {"student": {"labels": ["swan", "eagle"]}, "candidates": candidates}
    kinds.append(
        Kind("label lists, canceled", "/v1/recommendations", body, 4, cancel=True, ends=("canceled", "succeeded"))
    )
    classes = [5, 6, 7, 8, 9]
    with Client(url) as client:
        teacher = client.teachers.add_folder(
            digits_zoo.write_teacher(folder, "all digits", list(range(10))), tags=["stable"]
        )
        client.teachers.add_folder(digits_zoo.write_teacher(folder, "some digits", [6, 7, 8]), tags=["stable"])
        data = client.probes.upload(digits_zoo.probe(classes, 900, 1200, per_class=5), format="npz")
        transfer = client.probes.upload(digits_zoo.probe(classes, 1200, 1300, labelled=False), format="npz")
        test = client.probes.upload(digits_zoo.probe(classes, 1500, 1600), format="npz")
        for number in range(4):
            other = client.teachers.add_folder(digits_zoo.write_teacher(folder, f"other {number}", [number, 5, 9]))
            kinds.append(Kind(f"validation {number}", f"/v1/teachers/{other.id}/validation", None, share=2))
    probe = {"probe": data.id, "teachers": {"tags": ["stable"]}}
    kinds.append(Kind("probe", "/v1/recommendations", probe, share=8))
    for number, seed in enumerate((0, 7)):
        distillation = {
            "teachers": [teacher.id],
            "data": data.id,
            "transfer": transfer.id,
            "test": test.id,
            "student": {"kind": "builtin", "name": "mlp"},
            "loss": {"name": "transport", "weight": 1.0},
            "training": {"epochs": 120, "batch_size": 16, "seed": seed},
        }
        kinds.append(Kind(f"distillation {number}", "/v1/distillations", distillation, share=3))
        if number == 0:
            kinds.append(
                Kind(
                    "distillation, canceled", "/v1/distillations",
                    {**distillation, "training": {"epochs": 400, "batch_size": 16, "seed": 3}},
                    share=1, cancel=True, ends=("canceled", "succeeded"),
                )
            )  # fmt: skip
    return kinds


def poison() -> Kind:
    """The job that kills every worker that takes it."""
    body = {"student": {"labels": [POISON, "cat"]}, "candidates": [{"name": "one", "labels": ["dog", "cow"]}]}
    return Kind("killer", "/v1/recommendations", body, share=0, ends=("failed",))
