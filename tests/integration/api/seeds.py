"""One resource of each kind, written as the service and its workers write them."""

import asyncio
import hashlib
import io
import json
from dataclasses import dataclass

import numpy as np

from preceptor.contract.base import now
from preceptor.contract.distillations import Student
from preceptor.contract.ids import DISTILLATION, PROBE, RECOMMENDATION, STUDENT, TEACHER, WEBHOOK, new_id
from preceptor.contract.labels import LabelSetBody
from preceptor.contract.probes import Probe
from preceptor.contract.recommendations import (
    Candidate,
    RecommendationBody,
    RecommendationResult,
    Timings,
)
from preceptor.contract.teachers import PredictionsSource, StoredFile, TeacherBody
from preceptor.contract.webhooks import WebhookBody
from service.actions import teachers
from service.core.labels import label_sets
from service.core.settings import Settings
from service.core.state import State
from service.core.storage import object_keys
from service.core.webhooks.deliveries import message_of

ARTIFACT = bytes(range(256)) * 40


@dataclass(frozen=True)
class Seeds:
    """Their ids. `done` and `queued` are recommendations; `box` has predictions only; `spare` is a student."""

    label_set: str
    probe: str
    teacher: str
    box: str
    student: str
    spare: str
    done: str
    queued: str
    webhook: str
    message: str


def plant(settings: Settings) -> Seeds:
    """Write one of each."""
    return asyncio.run(_plant(settings))


async def finish(state: State, id: str) -> None:
    """End a waiting recommendation with a result, as a worker does."""
    taken = await state.jobs.leases.take(id, "test-worker")
    result = RecommendationResult(
        method="label_transport",
        mode="coverage",
        encoder="test",
        student_labels=["cat", "dog"],
        considered=0,
        solved=0,
        ranking=[],
        skipped=[],
        uncovered=[],
        warnings=[],
        timings=Timings(),
    )
    assert await state.jobs.leases.succeed(id, taken.fence, result)


def predictions(items: int = 4, classes: int = 2) -> bytes:
    """An upload of a black box's predictions."""
    buffer = io.BytesIO()
    np.savez(buffer, predictions=np.full((items, classes), 1 / classes, dtype=np.float32))
    return buffer.getvalue()


async def _plant(settings: Settings) -> Seeds:
    async with State(settings) as state:
        await state.ensure_index()
        labels = LabelSetBody(labels=["cat", "dog"])
        label_set, _ = await label_sets.register(state, labels)
        source = {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 4}}
        onnx = TeacherBody.model_validate(
            {"name": "pets", "modality": "features", "labels": labels.labels, "source": source}
        )
        teacher = await teachers.register(state, onnx, new_id(TEACHER))
        black_box = onnx.model_copy(update={"source": PredictionsSource(), "name": "black box"})
        box = await teachers.register(state, black_box, new_id(TEACHER))
        probe = Probe(
            id=new_id(PROBE), modality="features", items=4, labelled=True, labels=labels.labels, counts=[2, 2],
            dimension=4, format="npz", size=100, created_at=now(),
        )  # fmt: skip
        await state.probes.put(probe)
        ask = RecommendationBody(student=labels, candidates=[Candidate(name="zoo", labels=["lion", "wolf"])])
        done = await state.jobs.submit(new_id(RECOMMENDATION), "recommendation", ask)
        await finish(state, done.id)
        queued = await state.jobs.submit(new_id(RECOMMENDATION), "recommendation", ask)
        # Not one that may be reached: what is sent to it goes nowhere.
        webhook = await state.webhooks.create(new_id(WEBHOOK), WebhookBody(url="http://10.0.0.1/"))
        ended = await state.jobs.get(done.id)
        assert ended is not None
        note = message_of(ended, "job.succeeded")
        message = await state.webhooks.deliveries.create(webhook.id, note)
        return Seeds(
            label_set=label_set.id, probe=probe.id, teacher=teacher.id, box=box.id,
            student=await _student(state, onnx), spare=await _student(state, onnx), done=done.id, queued=queued.id,
            webhook=webhook.id, message=message.id,
        )  # fmt: skip


async def _student(state: State, body: TeacherBody) -> str:
    id = new_id(STUDENT)
    contents = {"model.onnx": ARTIFACT, "teacher.json": json.dumps(body.model_dump(mode="json")).encode()}
    for name, content in contents.items():
        await state.store.put(object_keys.student_artifact(id, name), content)
    artifacts = [
        StoredFile(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    ]
    student = Student(
        id=id,
        distillation=new_id(DISTILLATION),
        name="small",
        labels=["cat", "dog"],
        artifacts=artifacts,
        created_at=now(),
    )
    await state.students.put(student)
    return id
