"""Every namespace of the client over a real socket."""

import json
from pathlib import Path
from typing import Any

import pytest

from preceptor import AsyncClient, Client, InvalidRequestError, NotFoundError, TeacherRejectedError, Transfer
from preceptor.contract import ids
from preceptor.contract.recommendations import TeacherFilter
from preceptor.contract.teachers import TeacherStatus
from preceptor.contract.validations import ValidationResult

LABELS = ["cat", "dog", "鳥"]


def folder_of_onnx(path: Path, **manifest: Any) -> Path:
    path.mkdir()
    values = {
        "name": "pets",
        "modality": "image",
        "labels": LABELS,
        "source": {"kind": "onnx", "preprocessing": {"modality": "image", "size": [8, 8]}},
        "licence": "Apache-2.0",
        **manifest,
    }
    (path / "teacher.json").write_text(json.dumps(values))
    (path / "model.onnx").write_bytes(b"onnx" * 300_000)
    return path


def test_a_label_set_is_made_found_and_listed(client: Client) -> None:
    made = client.label_sets.create(LABELS)
    assert client.label_sets.create(LABELS).id == made.id
    assert client.label_sets.get(made.id).labels == LABELS
    assert [entry.id for entry in client.label_sets.list()] == [made.id]
    client.label_sets.delete(made.id)
    assert list(client.label_sets.list()) == []


def test_a_folder_becomes_a_ready_teacher_with_its_files(client: Client, service: Any, tmp_path: Path) -> None:
    moves: list[Transfer] = []
    teacher = client.teachers.add_folder(folder_of_onnx(tmp_path / "pets"), tags=["zoo"], on_transfer=moves.append)
    assert teacher.status is TeacherStatus.READY
    assert teacher.tags == ["zoo"]
    assert [file.name for file in teacher.files] == ["model.onnx"]
    assert (moves[0].done, moves[-1].done) == (0, 1_200_000)
    upload = service.requests("PUT", f"/v1/teachers/{teacher.id}/files/model.onnx")[0]
    assert upload.size == 1_200_000
    assert upload.headers["content-length"] == "1200000"
    assert upload.chunks > 1, "the file must not be sent as one piece"


def test_a_rejected_teacher_is_an_error_that_carries_the_reason(client: Client, service: Any, tmp_path: Path) -> None:
    reason = "output width 5 does not equal 3 labels"
    service.verdict = ValidationResult(status=TeacherStatus.REJECTED, reason=reason, seconds=0.1)
    with pytest.raises(TeacherRejectedError, match=reason) as caught:
        client.teachers.add_folder(folder_of_onnx(tmp_path / "pets"))
    assert caught.value.teacher.id in service.teachers


def test_half_a_teacher_is_removed_when_a_file_is_refused(
    client: Client, service: Any, fault: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = ids.new_id("tch")
    monkeypatch.setattr(ids, "new_id", lambda prefix: known)
    service.fail("PUT", f"/v1/teachers/{known}/files/model.onnx", fault(status=415))
    with pytest.raises(Exception, match="refused with 415"):
        client.teachers.add_folder(folder_of_onnx(tmp_path / "pets"))
    assert service.teachers == {}
    assert len(service.requests("DELETE", f"/v1/teachers/{known}")) == 1


def test_teachers_are_added_by_hand_changed_filtered_and_deleted(client: Client, service: Any, tmp_path: Path) -> None:
    teacher = client.teachers.add("black box", source={"kind": "predictions"}, modality="image", labels=LABELS)
    stored = client.teachers.upload_predictions(teacher, ids.digest_id("prb", "0" * 64), b"npz", values="logits")
    assert stored.size == 3
    assert service.seen[-1].query == [("values", "logits")]
    weights = tmp_path / "weights"
    weights.write_bytes(b"12345")
    assert client.teachers.upload_file(teacher, weights, name="model.onnx").size == 5
    assert client.teachers.validate(teacher).wait().status is TeacherStatus.READY
    assert client.teachers.update(teacher, description="new").description == "new"
    client.teachers.list(status="ready", tags=["a", "b"], modality="image", name="box").first()
    assert service.seen[-1].query == [
        ("status", "ready"),
        ("tag", "a"),
        ("tag", "b"),
        ("modality", "image"),
        ("name", "box"),
        ("limit", "50"),
    ]
    client.teachers.delete(teacher)
    with pytest.raises(NotFoundError):
        client.teachers.get(teacher.id)


def test_a_probe_is_uploaded_from_disk_or_from_memory(client: Client, service: Any, tmp_path: Path) -> None:
    file = tmp_path / "probe.npz"
    file.write_bytes(b"x" * 700_000)
    probe = client.probes.upload(file, labels=["a", "b"])
    assert probe.labels == ["a", "b"]
    assert service.seen[-1].query == [("filename", "probe.npz"), ("labels", "a"), ("labels", "b")]
    assert client.probes.upload(b"x" * 700_000, format="npz").id == probe.id
    assert client.probes.get(probe.id).size == 700_000
    client.probes.delete(probe)
    assert list(client.probes.list()) == []


def test_a_recommendation_from_plain_values(client: Client, service: Any) -> None:
    job = client.recommendations.create(
        LABELS, tags=["zoo"], candidates={"other": ["x", "y"]}, top_k=3, wait=1.5, idempotency_key="mine"
    )
    sent = service.requests("POST", "/v1/recommendations")[0]
    assert sent.headers["prefer"] == "wait=2"
    assert sent.headers["idempotency-key"] == "mine"
    assert job.request.teachers == TeacherFilter(tags=["zoo"])
    assert job.request.top_k == 3
    assert job.result is not None
    assert job.result.student_labels == LABELS
    assert client.recommendations.get(job.id).result == job.result
    assert [entry.id for entry in client.recommendations.list()] == [job.id]


def test_a_distillation_from_plain_values(client: Client, student: Any) -> None:
    probe = ids.digest_id("prb", "0" * 64)
    job = client.distillations.create(
        probe,
        teachers=[ids.new_id("tch")],
        transfer=probe,
        student="cnn",
        training={"epochs": 3},
        loss={"weight": 0.5},
    )
    assert job.request.training.epochs == 3
    assert job.request.student.kind == "builtin"
    assert job.request.loss.weight == 0.5
    assert job.result is None
    assert job.wait().student == student.id


def test_health_is_an_answer_also_when_it_is_bad(client: Client, service: Any, naps: list[float]) -> None:
    assert client.health().status == "ok"
    service.workers = False
    assert client.health().checks["worker:recommend"].detail == "no worker on this lane"
    assert naps == []
    assert client.version().service == "0.1.0"


def test_what_is_wrong_here_is_said_before_anything_is_sent(client: Client, service: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.recommendations.create(["cat", "cat"], temperature=0)
    pointers = {error.pointer for error in caught.value.problem.errors}
    assert pointers == {"/student/labels", "/temperature"}
    with pytest.raises(InvalidRequestError, match="labels are missing"):
        client.teachers.add("x", source={"kind": "predictions"}, modality="image")
    with pytest.raises(InvalidRequestError):
        client.jobs.get("../teachers")
    with pytest.raises(InvalidRequestError):
        client.teachers.get("")
    assert service.seen == []


def test_an_id_cannot_leave_its_place_in_the_path(client: Client, service: Any) -> None:
    with pytest.raises(NotFoundError):
        client.probes.get("../teachers?x=1")
    assert service.seen[-1].query == []


@pytest.mark.anyio
async def test_the_asynchronous_client_does_the_same(
    async_client: AsyncClient, service: Any, student: Any, tmp_path: Path
) -> None:
    made = await async_client.label_sets.create(LABELS)
    assert [entry.id async for entry in async_client.label_sets.list()] == [made.id]
    await async_client.label_sets.delete(made.id)
    assert [entry async for entry in async_client.label_sets.list()] == []
    teacher = await async_client.teachers.add_folder(folder_of_onnx(tmp_path / "pets"))
    assert teacher.status is TeacherStatus.READY
    assert service.requests("PUT", f"/v1/teachers/{teacher.id}/files/model.onnx")[0].chunks > 1
    probe = await async_client.probes.upload(b"abc", format="csv")
    job = await async_client.recommendations.create(LABELS, probe)
    assert (await job.wait()).student_labels == LABELS
    distillation = await async_client.distillations.create(probe, recommendation=job)
    assert (await distillation.wait()).student == student.id
    assert (await async_client.jobs.get(job.id)).status.terminal
    assert (await async_client.health()).status == "ok"
    promoted = await async_client.students.promote(student, "new teacher")
    assert (promoted.name, promoted.promoted_from) == ("new teacher", student.id)
    await async_client.teachers.delete(teacher)
    with pytest.raises(NotFoundError):
        await async_client.teachers.get(teacher.id)
