"""A small service on a real socket that follows the HTTP contract, keeps what it is sent, and fails on demand."""

import asyncio
import hashlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from preceptor import AsyncClient, Client
from preceptor.contract import ids
from preceptor.contract.base import now
from preceptor.contract.distillations import Distillation, DistillationBody, DistillationResult, Student
from preceptor.contract.jobs import Job, JobEvent, JobStatus
from preceptor.contract.labels import LabelSet, LabelSetBody
from preceptor.contract.probes import Probe
from preceptor.contract.problem import MEDIA_TYPE, TYPE_BASE, Problem
from preceptor.contract.recommendations import Recommendation, RecommendationBody, RecommendationResult
from preceptor.contract.teachers import StoredFile, Teacher, TeacherBody, TeacherStatus
from preceptor.contract.validations import Validation, ValidationBody, ValidationResult


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    digest: str
    size: int
    chunks: int


@dataclass
class Fault:
    """What to do in place of answering: a status, or a broken connection."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    problem: bool = True


class Dropped(Exception):
    """Ends a response in its middle, so that the server closes the connection."""


class SmallService:
    """State and behaviour of the server."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: dict[tuple[str, str], list[Fault]] = {}
        self.teachers: dict[str, Teacher] = {}
        self.probes: dict[str, Probe] = {}
        self.label_sets: dict[str, LabelSet] = {}
        self.jobs: dict[str, Job[Any, Any]] = {}
        self.events: dict[str, list[JobEvent]] = {}
        self.students: dict[str, Student] = {}
        self.artifacts: dict[str, bytes] = {}
        self.stream_drops: list[int] = []  # after so many events, a stream of events breaks
        self.artifact_drops: list[int] = []  # after so many bytes, a download breaks
        self.honour_range = True
        self.corrupt = 0
        self.verdict = ValidationResult(status=TeacherStatus.READY, seconds=0.1)
        self.finished = True  # whether new jobs are finished at once
        self.failing = False
        self.workers = True

    def fail(self, method: str, path: str, *faults: Fault) -> None:
        """Let the next requests fail, one fault each."""
        self.faults[(method, path)] = list(faults)

    def requests(self, method: str, path: str) -> list[Seen]:
        return [seen for seen in self.seen if (seen.method, seen.path) == (method, path)]

    def add_job(self, job: Job[Any, Any], events: list[tuple[str, dict[str, Any]]]) -> None:
        self.jobs[job.id] = job
        self.events[job.id] = [
            JobEvent(id=f"{1000 + position}-0", event=name, at=now(), data=data)
            for position, (name, data) in enumerate(events)
        ]

    def start(self, prefix: str, kind: Any, request: Any, result: Any) -> Job[Any, Any]:
        """A new job with a plausible event log; ended, unless `finished` is false."""
        job = kind(
            id=ids.new_id(prefix),
            kind={"rec": "recommendation", "dst": "distillation", "val": "validation"}[prefix],
            status=JobStatus.RUNNING,
            created_at=now(),
            started_at=now(),
            request=request,
        )
        log: list[tuple[str, dict[str, Any]]] = [
            ("status", {"status": "running"}),
            ("progress", {"fraction": 0.5, "message": "half way", "remaining_seconds": 3.0}),
        ]
        if prefix == "dst":
            log.append(("epoch", {"epoch": 1, "loss": 0.5, "accuracy": 0.75, "run": "with teacher"}))
        if self.finished:
            job = self.ended(job, result)
            log.append(("status", {"status": job.status.value}))
        self.add_job(job, log)
        return job

    def ended(self, job: Job[Any, Any], result: Any) -> Job[Any, Any]:
        if self.failing:
            problem = problem_of(422, "job-failed", "No teacher could be loaded; validate them again")
            return job.model_copy(update={"status": JobStatus.FAILED, "finished_at": now(), "error": problem})
        return job.model_copy(update={"status": JobStatus.SUCCEEDED, "finished_at": now(), "result": result})


def problem_of(status: int, slug: str, detail: str, errors: list[dict[str, str]] | None = None) -> Problem:
    return Problem.model_validate(
        {
            "type": TYPE_BASE + slug,
            "title": slug.replace("-", " "),
            "status": status,
            "detail": detail,
            "errors": errors or [],
        }
    )


def refused(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(problem.model_dump_json(), problem.status, headers or {}, MEDIA_TYPE)


def answer(model: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(model.model_dump_json(), status, headers or {}, "application/json")


def missing(path: str) -> Response:
    return refused(problem_of(404, "not-found", f"there is nothing at {path}"))


def paged(request: Request, items: list[Any]) -> Response:
    limit, start = int(request.query_params.get("limit", 50)), int(request.query_params.get("cursor", 0))
    following = str(start + limit) if start + limit < len(items) else None
    body = {"items": [json.loads(item.model_dump_json()) for item in items[start : start + limit]], "next": following}
    return JSONResponse(body)


def ranking(labels: list[str]) -> RecommendationResult:
    """A ranking with a name that tries to write markup and control codes."""
    plan = [
        {
            "label": label,
            "mass": 1 / len(labels),
            "cost": 0.1,
            "covered": position == 0,
            "sources": [{"label": f"{label}-like", "mass": 0.8 / len(labels), "cost": 0.05}],
        }
        for position, label in enumerate(labels)
    ]
    return RecommendationResult.model_validate(
        {
            "method": "label_transport",
            "mode": "coverage",
            "encoder": "test",
            "student_labels": labels,
            "considered": 2,
            "solved": 2,
            "ranking": [
                {
                    "rank": 1,
                    "teacher": ids.new_id("tch"),
                    "name": "best [bold]\x1b[31m",
                    "cost": 0.12345,
                    "method": "label_transport",
                    "classes": 10,
                    "plan": plan,
                    "uncovered": labels[1:],
                    "seconds": 0.012,
                    "cached": {"cost": True, "outputs": False},
                }
            ],
            "skipped": [{"name": "broken one", "reason": "its weights cannot be read"}],
            "uncovered": labels[1:],
            "warnings": ["no teacher is clearly best"],
            "timings": {
                "queued": 0.002,
                "total": 0.5,
                "stages": {"encode": 0.1},
                "caches": {"cost": {"hits": 1, "misses": 1}},
            },
        }
    )


def verdict(student: Student) -> DistillationResult:
    return DistillationResult.model_validate(
        {
            "student": student.id,
            "student_labels": student.labels,
            "teachers": [ids.new_id("tch")],
            "with_teacher": {"mean": 0.91, "per_seed": [0.9, 0.92]},
            "without_teacher": {"mean": 0.85, "per_seed": [0.84, 0.86]},
            "gain": {"mean": 0.06, "low": 0.03, "high": 0.09},
            "verdict": "helped",
            "advice": "Use the distilled student.",
            "weight": 1.0,
            "test_items": 200,
            "history": [],
            "artifacts": [file.model_dump() for file in student.artifacts],
            "timings": {"queued": 0.1, "total": 12.0},
        }
    )


def create_app(current: Callable[[], SmallService]) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def observed(request: Request, call_next: Any) -> Response:
        service = current()
        digest, size, chunks = hashlib.sha256(), 0, 0
        parts: list[bytes] = []
        async for chunk in request.stream():
            digest.update(chunk)
            size, chunks = size + len(chunk), chunks + bool(chunk)
            if size < 1 << 20:
                parts.append(chunk)
        request.state.body, request.state.size = b"".join(parts), size
        request.state.sha256 = digest.hexdigest()
        path = request.url.path
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = list(request.query_params.multi_items())
        service.seen.append(Seen(request.method, path, query, headers, digest.hexdigest(), size, chunks))
        if waiting := service.faults.get((request.method, path)):
            fault = waiting.pop(0)
            if fault.problem:
                problem = problem_of(fault.status, "test", f"refused with {fault.status}")
                return refused(problem, {"X-Request-Id": "req-1", **fault.headers})
            return Response("<html>gateway</html>", fault.status, fault.headers, "text/html")
        return await call_next(request)

    @app.get("/health/ready")
    async def ready() -> Response:
        if current().workers:
            return JSONResponse({"status": "ok", "checks": {"redis": {"status": "ok"}}})
        checks = {"worker:recommend": {"status": "failing", "detail": "no worker on this lane"}}
        return JSONResponse({"status": "failing", "checks": checks}, 503)

    @app.get("/version")
    async def version() -> Response:
        return JSONResponse({"service": "0.1.0", "api": "v1", "python": "3.11.7", "a_new_field": 1})

    @app.post("/v1/label-sets")
    async def create_label_set(request: Request) -> Response:
        body = LabelSetBody.model_validate_json(request.state.body)
        made = LabelSet(id=body.identity(), labels=body.labels, created_at=now())
        fresh = made.id not in current().label_sets
        current().label_sets[made.id] = made
        return answer(made, 201 if fresh else 200)

    @app.get("/v1/label-sets")
    async def list_label_sets(request: Request) -> Response:
        return paged(request, list(current().label_sets.values()))

    @app.get("/v1/label-sets/{id}")
    async def get_label_set(id: str) -> Response:
        found = current().label_sets.get(id)
        return answer(found) if found else missing(id)

    @app.post("/v1/teachers")
    async def create_teacher(request: Request) -> Response:
        body = TeacherBody.model_validate_json(request.state.body)
        moment = now()
        made = Teacher(
            id=ids.new_id("tch"),
            status=TeacherStatus.AWAITING_FILES,
            created_at=moment,
            updated_at=moment,
            **body.model_dump(),
        )
        current().teachers[made.id] = made
        return answer(made, 201)

    @app.get("/v1/teachers")
    async def list_teachers(request: Request, name: str = "", status: str = "") -> Response:
        found = [t for t in current().teachers.values() if name in t.name and status in ("", t.status)]
        return paged(request, found)

    @app.get("/v1/teachers/{id}")
    async def get_teacher(id: str) -> Response:
        found = current().teachers.get(id)
        return answer(found) if found else missing(id)

    @app.patch("/v1/teachers/{id}")
    async def change_teacher(id: str, request: Request) -> Response:
        values = json.loads(request.state.body)
        current().teachers[id] = current().teachers[id].model_copy(update=values)
        return answer(current().teachers[id])

    @app.delete("/v1/teachers/{id}")
    async def delete_teacher(id: str) -> Response:
        return Response(status_code=204) if current().teachers.pop(id, None) else missing(id)

    @app.put("/v1/teachers/{id}/files/{name}")
    async def upload_file(id: str, name: str, request: Request) -> Response:
        file = StoredFile(name=name, size=request.state.size, sha256=request.state.sha256)
        teacher = current().teachers[id]
        current().teachers[id] = teacher.model_copy(update={"files": [*teacher.files, file]})
        return answer(file, 201)

    @app.put("/v1/teachers/{id}/predictions/{probe}")
    async def upload_predictions(id: str, probe: str, request: Request) -> Response:
        return answer(StoredFile(name=probe, size=request.state.size, sha256=request.state.sha256), 201)

    @app.post("/v1/teachers/{id}/validation")
    async def validate(id: str) -> Response:
        service = current()
        job = service.start("val", Validation, ValidationBody(teacher=id), service.verdict)
        update = {"status": service.verdict.status, "reason": service.verdict.reason, "validation": job.id}
        service.teachers[id] = service.teachers[id].model_copy(update=update)
        return answer(job, 202)

    @app.post("/v1/probes")
    async def upload_probe(request: Request) -> Response:
        probe = Probe(
            id=ids.digest_id("prb", request.state.sha256),
            modality="features",
            items=3,
            labelled=True,
            labels=request.query_params.getlist("labels") or None,
            format="npz",
            size=request.state.size,
            created_at=now(),
        )
        fresh = probe.id not in current().probes
        current().probes[probe.id] = probe
        return answer(probe, 201 if fresh else 200)

    @app.get("/v1/probes")
    async def list_probes(request: Request) -> Response:
        return paged(request, list(current().probes.values()))

    @app.get("/v1/probes/{id}")
    async def get_probe(id: str) -> Response:
        found = current().probes.get(id)
        return answer(found) if found else missing(id)

    @app.delete("/v1/probes/{id}")
    async def delete_probe(id: str) -> Response:
        return Response(status_code=204) if current().probes.pop(id, None) else missing(id)

    @app.post("/v1/recommendations")
    async def recommend(request: Request) -> Response:
        body = RecommendationBody.model_validate_json(request.state.body)
        labels = body.student.labels if isinstance(body.student, LabelSetBody) else ["a", "b"]
        job = current().start("rec", Recommendation, body, ranking(labels))
        return answer(job, 200 if job.status.terminal else 202)

    @app.post("/v1/distillations")
    async def distill(request: Request) -> Response:
        body = DistillationBody.model_validate_json(request.state.body)
        student = next(iter(current().students.values()))
        job = current().start("dst", Distillation, body, verdict(student))
        return answer(job.model_copy(update={"status": JobStatus.QUEUED, "result": None}), 202)

    @app.get("/v1/recommendations/{id}")
    @app.get("/v1/distillations/{id}")
    @app.get("/v1/jobs/{id}")
    async def get_job(id: str) -> Response:
        found = current().jobs.get(id)
        return answer(found) if found else missing(id)

    @app.get("/v1/jobs")
    @app.get("/v1/recommendations")
    async def list_jobs(request: Request) -> Response:
        return paged(request, list(current().jobs.values()))

    @app.post("/v1/jobs/{id}/cancel")
    async def cancel(id: str) -> Response:
        job = current().jobs[id]
        current().jobs[id] = job.model_copy(update={"status": JobStatus.CANCELED, "finished_at": now()})
        return answer(current().jobs[id], 202)

    @app.get("/v1/jobs/{id}/events")
    async def events(id: str, request: Request) -> Response:
        service = current()
        if id not in service.jobs:
            return missing(id)
        last = request.headers.get("last-event-id")
        drop = service.stream_drops.pop(0) if service.stream_drops else None

        async def stream() -> AsyncIterator[str]:
            yield ": ping\r\n\r\n"
            sent = 0
            for event in service.events[id]:
                if last is not None and event.id <= last:
                    continue
                if sent == drop:
                    yield f"id: {event.id}\nevent: {event.event}\ndata: {event.model_dump_json()[:20]}"
                    raise Dropped
                yield f"id: {event.id}\nevent: {event.event}\ndata: {event.model_dump_json()}\n\n"
                sent += 1
            if not service.jobs[id].status.terminal:
                await asyncio.sleep(3600)

        return StreamingResponse(stream(), media_type="text/event-stream")

    @app.get("/v1/students")
    async def list_students(request: Request) -> Response:
        return paged(request, list(current().students.values()))

    @app.get("/v1/students/{id}")
    async def get_student(id: str) -> Response:
        found = current().students.get(id)
        return answer(found) if found else missing(id)

    @app.get("/v1/students/{id}/artifacts/{name}")
    async def artifact(id: str, name: str, request: Request) -> Response:
        service = current()
        content = service.artifacts[name]
        if service.corrupt:
            service.corrupt -= 1
            content = bytes(len(content))
        asked = request.headers.get("range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and service.honour_range else 0
        headers = {"Content-Length": str(len(content) - start)}
        if asked and service.honour_range:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        end = start + service.artifact_drops.pop(0) if service.artifact_drops else None

        async def stream() -> AsyncIterator[bytes]:
            for position in range(start, len(content), 10_000):
                if end is not None and position >= end:
                    raise Dropped
                yield content[position : position + 10_000]

        status = 206 if asked and service.honour_range else 200
        return StreamingResponse(stream(), status, headers, "application/octet-stream")

    @app.post("/v1/students/{id}/promote")
    async def promote(id: str, request: Request) -> Response:
        name = json.loads(request.state.body).get("name") or current().students[id].name
        moment = now()
        made = Teacher.model_validate(
            {
                "id": ids.new_id("tch"),
                "name": name,
                "status": "validating",
                "source": {"kind": "transformers"},
                "modality": "image",
                "promoted_from": id,
                "created_at": moment,
                "updated_at": moment,
            }
        )
        return answer(made, 201)

    return app


class _Running:
    """A server thread."""

    def __init__(self) -> None:
        self.service = SmallService()
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(
            create_app(lambda: self.service), log_config=None, lifespan="off", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)


@pytest.fixture(scope="session")
def running() -> Iterator[_Running]:
    made = _Running()
    made.thread.start()
    yield made
    made.server.should_exit = made.server.force_exit = True
    made.thread.join(10)
    made.socket.close()


@pytest.fixture
def service(running: _Running, monkeypatch: pytest.MonkeyPatch) -> SmallService:
    """A fresh state behind the running server."""
    for name in ("PRECEPTOR_URL", "PRECEPTOR_API_KEY", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    running.service = SmallService()
    return running.service


@pytest.fixture
def url(running: _Running, service: SmallService) -> str:
    return running.url


@pytest.fixture
def naps() -> list[float]:
    """The pauses that a client took; none of them was really slept."""
    return []


@pytest.fixture
def client(url: str, naps: list[float]) -> Iterator[Client]:
    with Client(url, sleep=naps.append) as made:
        yield made


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def async_client(url: str, naps: list[float]) -> AsyncIterator[AsyncClient]:
    async def nap(seconds: float) -> None:
        naps.append(seconds)

    async with AsyncClient(url, sleep=nap) as made:
        yield made


@pytest.fixture
def fault() -> type[Fault]:
    return Fault


@pytest.fixture
def student(service: SmallService) -> Student:
    """A student with two artifacts; the larger needs many chunks."""
    service.artifacts = {
        "model.safetensors": bytes(range(256)) * 1000,
        "config.json": b'{"id2label": {"0": "cat"}}',
    }
    files = [
        StoredFile(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in service.artifacts.items()
    ]
    made = Student(
        id=ids.new_id("stu"), distillation=ids.new_id("dst"), name="small", labels=["cat", "dog"], artifacts=files
    )
    service.students[made.id] = made
    return made
