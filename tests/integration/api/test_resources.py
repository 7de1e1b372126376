"""Resources over HTTP: created, listed, shown, changed, removed."""

import io
import json

import httpx2
import numpy as np
import pytest

from preceptor.contract.ids import TEACHER, new_id
from service.core.settings import Settings

from .seeds import Seeds

ONNX = {
    "name": "pets",
    "modality": "features",
    "labels": ["cat", "dog"],
    "source": {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 4}},
}


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def labelled_probe() -> bytes:
    return npz(
        features=np.eye(4, dtype=np.float32),
        labels=np.array([0, 1, 0, 1]),
        label_names=np.array(["cat", "dog"]),
    )


def test_a_teacher_from_registration_to_removal(http: httpx2.Client) -> None:
    made = http.post("/v1/teachers", json=ONNX)
    assert made.status_code == 201
    teacher = made.json()
    assert teacher["status"] == "awaiting_files"
    assert made.headers["location"] == f"/v1/teachers/{teacher['id']}"
    early = http.post(f"/v1/teachers/{teacher['id']}/validation")
    assert early.status_code == 409
    assert "model.onnx" in early.json()["detail"]
    put = http.put(f"/v1/teachers/{teacher['id']}/files/model.onnx", content=b"not really onnx")
    assert put.status_code == 201
    assert put.json()["size"] == 15
    assert http.put(f"/v1/teachers/{teacher['id']}/files/model.onnx", content=b"again").status_code == 200
    started = http.post(f"/v1/teachers/{teacher['id']}/validation")
    assert started.status_code == 202
    assert started.headers["retry-after"]
    job = http.get(started.headers["location"])
    assert job.json()["request"] == {"teacher": teacher["id"]}
    assert http.get(f"/v1/teachers/{teacher['id']}").json()["status"] == "validating"
    busy = http.put(f"/v1/teachers/{teacher['id']}/files/model.onnx", content=b"late")
    assert busy.status_code == 409
    changed = http.patch(f"/v1/teachers/{teacher['id']}", json={"tags": ["a", "b"], "accuracy": 0.5})
    assert changed.json()["tags"] == ["a", "b"]
    stale = http.patch(f"/v1/teachers/{teacher['id']}", json={"name": "x"}, headers={"If-Match": '"old"'})
    assert stale.status_code == 412
    fresh = http.get(f"/v1/teachers/{teacher['id']}").headers["etag"]
    assert (
        http.patch(f"/v1/teachers/{teacher['id']}", json={"name": "x"}, headers={"If-Match": fresh}).status_code == 200
    )
    assert http.delete(f"/v1/teachers/{teacher['id']}").status_code == 204
    assert http.get(f"/v1/teachers/{teacher['id']}").status_code == 404


def test_lists_are_paged_linked_and_filtered(http: httpx2.Client) -> None:
    for number in range(5):
        body = {**ONNX, "name": f"Teacher {number}", "tags": ["even" if number % 2 == 0 else "odd"]}
        assert http.post("/v1/teachers", json=body).status_code == 201
    names: list[str] = []
    url: str | None = "/v1/teachers?limit=2"
    while url:
        page = http.get(url)
        names += [item["name"] for item in page.json()["items"]]
        url = page.links.get("next", {}).get("url")
    assert sorted(names) == [f"Teacher {number}" for number in range(5)]
    odd = http.get("/v1/teachers", params={"tag": "odd"}).json()
    assert {item["name"] for item in odd["items"]} == {"Teacher 1", "Teacher 3"}
    assert len(http.get("/v1/teachers", params={"name": "tEACHER 4"}).json()["items"]) == 1
    assert http.get("/v1/teachers", params={"status": "ready"}).json()["items"] == []


def test_a_document_reads_the_same_in_a_list(http: httpx2.Client) -> None:
    assert http.post("/v1/label-sets", json={"labels": ["cat", "dog"]}).status_code == 201
    assert http.post("/v1/probes", params={"format": "npz"}, content=labelled_probe()).status_code == 201
    assert http.post("/v1/teachers", json=ONNX).status_code == 201
    for path in ("label-sets", "probes", "teachers"):
        [listed] = http.get(f"/v1/{path}").json()["items"]
        assert listed == http.get(f"/v1/{path}/{listed['id']}").json()


def test_label_sets_are_known_by_their_content(http: httpx2.Client) -> None:
    first = http.post("/v1/label-sets", json={"labels": ["cat", "dog"]})
    second = http.post("/v1/label-sets", json={"labels": ["cat", "dog"]})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert http.get(first.headers["location"]).json() == first.json()


def test_a_label_set_can_be_removed(http: httpx2.Client) -> None:
    made = http.post("/v1/label-sets", json={"labels": ["cat", "dog"]})
    place = made.headers["location"]
    assert http.delete(place).status_code == 204
    assert http.get(place).status_code == http.delete(place).status_code == 404
    assert http.get("/v1/label-sets").json()["items"] == []
    again = http.post("/v1/label-sets", json={"labels": ["cat", "dog"]})
    assert (again.status_code, again.headers["location"]) == (201, place)


def test_probes_are_known_by_their_content(http: httpx2.Client) -> None:
    first = http.post("/v1/probes?filename=p.npz", content=labelled_probe())
    assert first.status_code == 201, first.text
    probe = first.json()
    assert (probe["items"], probe["labelled"], probe["labels"]) == (4, True, ["cat", "dog"])
    assert http.post("/v1/probes?format=npz", content=labelled_probe()).status_code == 200
    listed = http.get("/v1/probes").json()["items"]
    assert [item["id"] for item in listed] == [probe["id"]]
    etag = http.get(f"/v1/probes/{probe['id']}").headers["etag"]
    assert http.get(f"/v1/probes/{probe['id']}", headers={"If-None-Match": etag}).status_code == 304
    assert http.delete(f"/v1/probes/{probe['id']}").status_code == 204
    assert http.post("/v1/probes?format=npz", content=labelled_probe()).status_code == 201


def test_an_idempotency_key_repeats_the_answer(http: httpx2.Client) -> None:
    key = {"Idempotency-Key": "order-66"}
    first = http.post("/v1/teachers", json=ONNX, headers=key)
    again = http.post("/v1/teachers", json=ONNX, headers=key)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    other = http.post("/v1/teachers", json={**ONNX, "name": "other"}, headers=key)
    assert other.status_code == 422
    assert other.json()["type"].endswith("idempotency-mismatch")
    assert len(http.get("/v1/teachers").json()["items"]) == 1
    refused = http.post("/v1/teachers", json={**ONNX, "labels": ["a"]}, headers={"Idempotency-Key": "k2"})
    assert refused.status_code == 422
    corrected = http.post("/v1/teachers", json=ONNX, headers={"Idempotency-Key": "k2"})
    assert corrected.status_code == 201


def test_a_job_is_queued_listed_followed_and_canceled(http: httpx2.Client) -> None:
    body = {"student": {"labels": ["cat", "dog"]}, "candidates": [{"name": "zoo", "labels": ["lion", "wolf"]}]}
    made = http.post("/v1/recommendations", json=body, headers={"Idempotency-Key": "once", "Prefer": "wait=0"})
    assert made.status_code == 202
    job = made.json()
    assert job["status"] == "queued"
    assert http.post("/v1/recommendations", json=body, headers={"Idempotency-Key": "once"}).json() == job
    assert [item["id"] for item in http.get("/v1/jobs?kind=recommendation").json()["items"]] == [job["id"]]
    assert http.get("/v1/jobs?status=running").json()["items"] == []
    canceled = http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert http.post(f"/v1/jobs/{job['id']}/cancel").json()["status"] == "canceled"
    with http.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = stream.read().decode()
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert [event["data"]["status"] for event in events] == ["queued", "canceled"]
    with http.stream("GET", f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": events[0]["id"]}) as stream:
        rest = [line for line in stream.read().decode().splitlines() if line.startswith("data: ")]
    assert [json.loads(line[6:])["id"] for line in rest] == [events[1]["id"]]


def test_waiting_ends_after_the_wanted_time(http: httpx2.Client) -> None:
    body = {"student": {"labels": ["cat", "dog"]}, "candidates": [{"name": "zoo", "labels": ["lion", "wolf"]}]}
    made = http.post("/v1/recommendations", json=body, headers={"Prefer": "respond-async, wait=1"})
    assert made.status_code == 202
    assert made.headers["preference-applied"] == "wait=1"


def test_readiness_says_what_is_missing(http: httpx2.Client) -> None:
    assert http.get("/health/live").json()["status"] == "ok"
    ready = http.get("/health/ready")
    assert ready.status_code == 503
    checks = ready.json()["checks"]
    assert checks["redis"]["status"] == checks["store"]["status"] == "ok"
    assert "preceptor-server worker --lane recommend" in checks["worker:recommend"]["detail"]
    assert http.get("/version").json()["api"] == "v1"
    assert "preceptor_lane_waiting_jobs" in http.get("/metrics").text


def test_a_black_box_teacher_needs_no_files(http: httpx2.Client) -> None:
    body = {"name": "api", "modality": "text", "labels": ["x", "y", "z"], "source": {"kind": "predictions"}}
    teacher = http.post("/v1/teachers", json=body).json()
    assert teacher["status"] == "validating"
    probe = http.post("/v1/probes?format=npz", content=labelled_probe()).json()
    path = f"/v1/teachers/{teacher['id']}/predictions/{probe['id']}"
    good = np.full((4, 3), 1 / 3, dtype=np.float32)
    assert http.put(path, content=npz(predictions=good)).status_code == 201
    narrow = http.put(path, content=npz(predictions=good[:, :2]))
    assert narrow.status_code == 422
    assert "3" in narrow.json()["detail"]
    unknown = http.put(path.replace(teacher["id"], new_id(TEACHER)), content=npz(predictions=good))
    assert unknown.status_code == 404


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_documentation_is_served(http: httpx2.Client, path: str) -> None:
    assert http.get(path).status_code == 200


def test_a_file_is_checked_and_not_stored(http: httpx2.Client, settings: Settings) -> None:
    checked = http.post("/v1/probes?check=true&filename=p.npz", content=labelled_probe())
    assert checked.status_code == 200, checked.text
    found = checked.json()
    assert (found["labels"], found["counts"], found["stored"]) == (["cat", "dog"], [2, 2], False)
    assert found["examples"] == [
        {"position": 0, "label": "cat", "item": "[1, 0, 0, 0], 4 values"},
        {"position": 1, "label": "dog", "item": "[0, 1, 0, 0], 4 values"},
    ]
    assert http.get(f"/v1/probes/{found['id']}").status_code == 404
    assert http.get("/v1/probes").json()["items"] == []
    assert not list(settings.data.rglob("*.parquet"))
    refused = http.post("/v1/probes?check=true&filename=p.npz", content=b"not npz")
    assert refused.status_code in (415, 422)
    stored = http.post("/v1/probes?filename=p.npz", content=labelled_probe()).json()
    again = http.post("/v1/probes?check=true&filename=p.npz", content=labelled_probe()).json()
    assert (again["id"], again["stored"]) == (stored["id"], True)


def test_a_teacher_that_is_only_checked_is_in_no_list(http: httpx2.Client) -> None:
    made = http.post("/v1/teachers?check=true", json=ONNX)
    assert made.status_code == 201
    check = made.json()
    assert check["expires_at"] > check["created_at"]
    assert http.get("/v1/teachers").json()["items"] == http.get("/v1/label-sets").json()["items"] == []
    assert http.get("/v1/teachers", params={"name": "pets"}).json()["items"] == []
    assert http.put(f"/v1/teachers/{check['id']}/files/model.onnx", content=b"onnx").status_code == 201
    assert http.post(f"/v1/teachers/{check['id']}/validation").status_code == 202
    assert http.delete(f"/v1/teachers/{check['id']}").status_code == 204
    assert http.get(f"/v1/teachers/{check['id']}").status_code == 404


def test_a_student_is_removed_and_its_teacher_stays(http: httpx2.Client, seeds: Seeds) -> None:
    place = f"/v1/students/{seeds.student}"
    teacher = http.post(f"{place}/promote").json()
    assert http.delete(place).status_code == 204
    assert http.get(place).status_code == http.delete(place).status_code == 404
    assert http.get(f"{place}/artifacts/model.onnx").status_code == 404
    assert [item["id"] for item in http.get("/v1/students").json()["items"]] == [seeds.spare]
    kept = http.get(f"/v1/teachers/{teacher['id']}").json()
    assert [file["name"] for file in kept["files"]] == ["model.onnx"]
    assert http.post(f"{place}/promote").status_code == 404
