"""The small service's routes: they follow the HTTP contract, record every request, and fail on demand."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from preceptor.contract import ids
from preceptor.contract.base import now
from preceptor.contract.distillations import Distillation, DistillationBody
from preceptor.contract.jobs import JobStatus
from preceptor.contract.labels import LabelSet, LabelSetBody
from preceptor.contract.probes import Probe, ProbeCheck, ProbeExample
from preceptor.contract.recommendations import Recommendation, RecommendationBody
from preceptor.contract.teachers import StoredFile, Teacher, TeacherBody, TeacherStatus
from preceptor.contract.validations import Validation, ValidationBody
from preceptor.contract.webhooks import CreatedWebhook, DeliveryAttempt, WebhookBody, WebhookDelivery, WebhookMessage

from .small_state import (
    Dropped,
    Fault,
    Seen,
    SmallService,
    answer,
    missing,
    paged,
    problem_of,
    ranking,
    refused,
    verdict,
)


class RequestLog:
    """Reads the whole body, remembers the request, and fails where a fault is waiting.

    Pure ASGI: a response that breaks off must reach the socket as far as it was written.
    """

    def __init__(self, app: ASGIApp, current: Callable[[], SmallService]) -> None:
        self.app = app
        self.current = current

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, request = self.current(), Request(scope, receive)
        digest, size, chunks = hashlib.sha256(), 0, 0
        parts: list[bytes] = []
        async for chunk in request.stream():
            digest.update(chunk)
            size, chunks = size + len(chunk), chunks + bool(chunk)
            if size < 1 << 20:
                parts.append(chunk)
        scope.setdefault("state", {}).update(body=b"".join(parts), size=size, sha256=digest.hexdigest())
        path = request.url.path
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = list(request.query_params.multi_items())
        service.seen.append(Seen(request.method, path, query, headers, digest.hexdigest(), size, chunks))
        if waiting := service.faults.get((request.method, path)):
            await _failure(waiting.pop(0))(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _failure(fault: Fault) -> Response:
    if fault.problem:
        problem = problem_of(fault.status, "test", f"refused with {fault.status}")
        return refused(problem, {"X-Request-Id": "req-1", **fault.headers})
    return Response("<html>gateway</html>", fault.status, fault.headers, "text/html")


def create_app(current: Callable[[], SmallService]) -> FastAPI:
    app = FastAPI()

    app.add_middleware(RequestLog, current=current)

    @app.get("/health/live")
    async def live() -> Response:
        return JSONResponse({"status": "ok", "checks": {}})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(current().metrics, media_type="text/plain")

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

    @app.delete("/v1/label-sets/{id}")
    async def delete_label_set(id: str) -> Response:
        del current().label_sets[id]
        return Response(status_code=204)

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
            expires_at=moment if "check" in request.query_params else None,
            **body.model_dump(),
        )
        current().teachers[made.id] = made
        return answer(made, 201)

    @app.get("/v1/teachers")
    async def list_teachers(request: Request, name: str = "", status: str = "") -> Response:
        listed = [t for t in current().teachers.values() if t.expires_at is None]
        found = [t for t in listed if name in t.name and status in ("", t.status)]
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
        update = {"status": service.verdict.status, "reason": service.verdict.reason}
        judged = service.teachers[id].model_copy(update=update)
        checked = None if judged.expires_at is None else judged
        result = service.verdict.model_copy(update={"teacher": checked})
        job = service.start("val", Validation, ValidationBody(teacher=id), result)
        service.teachers[id] = judged.model_copy(update={"validation": job.id})
        return answer(job, 202)

    def described(request: Request) -> dict[str, Any]:
        return {
            "id": ids.digest_id("prb", request.state.sha256),
            "modality": "features",
            "items": 3,
            "labelled": True,
            "labels": request.query_params.getlist("labels") or None,
            "format": "npz",
            "size": request.state.size,
            "created_at": now(),
        }

    @app.post("/v1/probes")
    async def upload_probe(request: Request) -> Response:
        if "check" in request.query_params:
            stored = ids.digest_id("prb", request.state.sha256) in current().probes
            example = ProbeExample(position=0, label="a", item="[1, 2], 2 values")
            return answer(ProbeCheck(**described(request), stored=stored, examples=[example]))
        probe = Probe(**described(request))
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

    @app.delete("/v1/students/{id}")
    async def delete_student(id: str) -> Response:
        return Response(status_code=204) if current().students.pop(id, None) else missing(id)

    @app.post("/v1/webhooks")
    async def create_webhook(request: Request) -> Response:
        body = WebhookBody.model_validate_json(request.state.body)
        made = CreatedWebhook(id=ids.new_id("whk"), secret="whsec_x", created_at=now(), **body.model_dump())
        current().webhooks[made.id] = made
        return answer(made, 201)

    @app.get("/v1/webhooks")
    async def list_webhooks(request: Request) -> Response:
        return paged(request, list(current().webhooks.values()))

    @app.delete("/v1/webhooks/{id}")
    async def delete_webhook(id: str) -> Response:
        return Response(status_code=204) if current().webhooks.pop(id, None) else missing(id)

    @app.post("/v1/webhooks/{id}/replay")
    async def replay(id: str, job: str) -> Response:
        summary = current().jobs[job]
        message = WebhookMessage.model_validate(
            {
                "type": "job.succeeded",
                "timestamp": now(),
                "data": {"id": job, "kind": summary.kind, "status": "succeeded"},
            }
        )
        status = current().response
        made = WebhookDelivery(
            id=ids.new_id("msg"),
            webhook=id,
            message=message,
            status="succeeded" if status == 200 else "pending",
            attempts=[DeliveryAttempt(at=now(), status=status)],
            tries=1,
            created_at=now(),
        )
        return answer(made)

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
