"""What the small service of these tests remembers, and the documents it answers with."""

import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from preceptor.contract import ids
from preceptor.contract.base import now
from preceptor.contract.distillations import DistillationResult, Student
from preceptor.contract.jobs import Job, JobEvent, JobStatus
from preceptor.contract.labels import LabelSet
from preceptor.contract.probes import Probe
from preceptor.contract.problem import MEDIA_TYPE, TYPE_BASE, Problem
from preceptor.contract.recommendations import RecommendationResult
from preceptor.contract.teachers import Teacher, TeacherStatus
from preceptor.contract.validations import ValidationResult
from preceptor.contract.webhooks import Webhook


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
        self.webhooks: dict[str, Webhook] = {}
        self.response = 200  # of the address of every webhook
        self.artifacts: dict[str, bytes] = {}
        self.stream_drops: list[int] = []  # after so many events, a stream of events breaks
        self.artifact_drops: list[int] = []  # after so many bytes, a download breaks
        self.honour_range = True
        self.corrupt = 0
        self.verdict = ValidationResult(status=TeacherStatus.READY, seconds=0.1)
        self.finished = True  # whether new jobs are finished at once
        self.failing = False
        self.workers = True
        self.metrics = 'preceptor_lane_waiting_jobs{lane="recommend"} 0.0\n'

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
            log.append(("epoch", {"epoch": 1, "loss": 0.5, "accuracy": 0.75, "arm": "with teacher"}))
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
    body = {
        "items": [json.loads(item.model_dump_json()) for item in items[start : start + limit]],
        "next": following,
    }
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
