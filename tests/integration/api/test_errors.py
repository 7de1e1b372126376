"""Every error is a problem document that says what was wrong and what to do."""

import io
import os
import shutil
import socket
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest

from preceptor.contract.ids import DISTILLATION, PROBE, RECOMMENDATION, STUDENT, TEACHER, content_id, new_id
from service.core.settings import Settings

STUDENT_BODY = {"student": {"labels": ["cat", "dog"]}}
CANDIDATES = {**STUDENT_BODY, "candidates": [{"name": "zoo", "labels": ["lion", "wolf"]}]}


def problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:preceptor:problem:")
    assert body["title"]
    assert len(body["detail"]) > 20
    assert body["instance"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return body


@pytest.mark.parametrize(
    ("labels", "pointer", "says"),
    [
        ([], "/student/labels", "at least 2"),
        (["one"], "/student/labels", "at least 2"),
        (["a", "a"], "/student/labels", "distinct"),
        (["a", 3], "/student/labels/1", "string"),
        ([f"label {n}" for n in range(100_000)], "/student/labels", "20,000"),
    ],
)
def test_bad_labels(http: httpx2.Client, labels: list[Any], pointer: str, says: str) -> None:
    body = problem(http.post("/v1/recommendations", json={"student": {"labels": labels}}), 422)
    assert body["errors"][0]["pointer"] == pointer
    assert says in body["errors"][0]["detail"]


def test_misspelt_options_are_not_ignored(http: httpx2.Client) -> None:
    body = problem(http.post("/v1/recommendations", json={**CANDIDATES, "topk": 3}), 422)
    assert body["errors"][0]["pointer"] == "/topk"


@pytest.mark.parametrize("content", [b"{", b"", b"[1,", b'{"student": \xff}', b"nonsense"])
def test_malformed_json(http: httpx2.Client, content: bytes) -> None:
    response = http.post("/v1/recommendations", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    problem(response, response.status_code)


def test_a_wrong_content_type(http: httpx2.Client) -> None:
    response = http.post("/v1/recommendations", content=b"a=b", headers={"Content-Type": "text/plain"})
    assert response.status_code in (415, 422)
    problem(response, response.status_code)


def absent(prefix: str) -> str:
    """An id that nothing has, the same in every process."""
    return content_id(prefix, [b"absent"])


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/teachers/{absent(TEACHER)}",
        f"/v1/probes/{absent(PROBE)}",
        f"/v1/recommendations/{absent(RECOMMENDATION)}",
        f"/v1/distillations/{absent(DISTILLATION)}",
        f"/v1/jobs/{absent(RECOMMENDATION)}",
        f"/v1/jobs/{absent(RECOMMENDATION)}/events",
        f"/v1/students/{absent(STUDENT)}",
        f"/v1/students/{absent(STUDENT)}/artifacts/model.onnx",
        "/v1/nothing",
        "/",
    ],
)
def test_unknown_ids_and_paths(http: httpx2.Client, path: str) -> None:
    problem(http.get(path), 404)


def test_ids_of_the_wrong_form(http: httpx2.Client) -> None:
    body = problem(http.get("/v1/teachers/banana"), 422)
    assert body["errors"][0]["pointer"] == "path:id"


def test_a_method_that_is_not_there(http: httpx2.Client) -> None:
    response = http.put("/v1/teachers")
    assert "POST" in problem(response, 405)["detail"]
    assert response.headers["allow"]


def test_an_empty_zoo(http: httpx2.Client) -> None:
    assert "POST /v1/teachers" in problem(http.post("/v1/recommendations", json=STUDENT_BODY), 409)["detail"]


def test_chosen_teachers_that_do_not_exist(http: httpx2.Client) -> None:
    body = {**STUDENT_BODY, "teachers": {"ids": [new_id(TEACHER)]}}
    assert "do not exist" in problem(http.post("/v1/recommendations", json=body), 422)["detail"]


def test_a_body_over_the_limit(http: httpx2.Client, settings: Settings) -> None:
    content = b'{"x": "' + b"a" * settings.max_body_bytes + b'"}'
    problem(http.post("/v1/recommendations", content=content, headers={"Content-Type": "application/json"}), 413)


def test_a_probe_over_the_limit_is_refused_before_it_is_read(base_url: str, settings: Settings) -> None:
    address = urlsplit(base_url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/probes?filename=x.npz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            + f"Content-Length: {settings.max_probe_bytes + 1}\r\n\r\n".encode()
        )
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if b"too-large" in answer:
                break
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"at most" in answer


@pytest.mark.parametrize(
    ("query", "content", "status", "says"),
    [
        ("filename=x.npz", b"", 422, "empty"),
        ("filename=x.pkl", b"abc", 415, "code"),
        ("filename=x.docx", b"abc", 415, "npz"),
        ("filename=x.npz", b"abc", 422, "npz"),
        ("filename=x.parquet", b"PAR1", 422, ""),
        ("filename=x.zip", b"PK\x03\x04broken", 422, ""),
        ("filename=x.csv", "text,label\nä,b\nö,c\n".encode("latin-1"), 422, "UTF-8"),
    ],
)
def test_files_that_are_no_probe(http: httpx2.Client, query: str, content: bytes, status: int, says: str) -> None:
    body = problem(http.post(f"/v1/probes?{query}", content=content), status)
    assert says.lower() in body["detail"].lower()


def test_features_that_are_not_finite(http: httpx2.Client) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, features=np.array([[1.0, 2.0], [np.nan, 1.0]]), labels=np.array([0, 1]))
    assert "1" in problem(http.post("/v1/probes?format=npz", content=buffer.getvalue()), 422)["detail"]


def test_a_zip_that_climbs_out(http: httpx2.Client) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../evil.txt", "x")
    assert ".." in problem(http.post("/v1/probes?filename=x.zip", content=buffer.getvalue()), 422)["detail"]


def test_a_form_instead_of_bytes(http: httpx2.Client) -> None:
    response = http.post("/v1/probes", files={"file": ("x.npz", b"abc")})
    assert "--data-binary" in problem(response, 415)["detail"]


def test_a_pickle_as_weights(http: httpx2.Client) -> None:
    body = {"name": "x", "modality": "image", "source": {"kind": "transformers"}}
    teacher = http.post("/v1/teachers", json=body).json()["id"]
    response = http.put(f"/v1/teachers/{teacher}/files/pytorch_model.bin", content=b"x")
    assert "safetensors" in problem(response, 415)["detail"]


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "ü"])
def test_unusable_idempotency_keys(http: httpx2.Client, key: str) -> None:
    response = http.post("/v1/recommendations", json=CANDIDATES, headers={"Idempotency-Key": key.encode("utf-8")})
    assert problem(response, 422)["errors"][0]["pointer"].startswith("header:")


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=zzz", "status=asleep"])
def test_unusable_queries(http: httpx2.Client, query: str) -> None:
    problem(http.get(f"/v1/jobs?{query}"), 422)


def test_redis_down_is_503_and_heals(http: httpx2.Client, redis_server: Any) -> None:
    redis_server.stop()
    response = http.post("/v1/recommendations", json=CANDIDATES)
    problem(response, 503)
    assert response.headers["retry-after"]
    assert http.get("/health/ready").json()["checks"]["redis"]["status"] == "failing"
    redis_server.ensure()
    assert http.post("/v1/recommendations", json=CANDIDATES).status_code == 202


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_store_refuses_readably(http: httpx2.Client, settings: Settings) -> None:
    store = Path(settings.data) / "store"
    if os.system(f"mount -t tmpfs -o size=64k tmpfs {store} 2>/dev/null") != 0:
        pytest.skip("mount is not allowed here")
    try:
        buffer = io.BytesIO()
        np.savez(buffer, features=np.random.default_rng(0).random((500, 100)), labels=np.arange(500) % 2)
        response = http.post("/v1/probes?format=npz", content=buffer.getvalue())
        assert "room" in problem(response, 507)["detail"]
        os.system(f"mount -o remount,ro {store}")
        response = http.post("/v1/recommendations", json=CANDIDATES)
        assert "written" in problem(response, 503)["detail"]
    finally:
        os.system(f"umount -l {store}")  # A handle of the failed write may close a moment later.
    assert http.post("/v1/recommendations", json=CANDIDATES).status_code == 202


def test_a_promotion_of_nothing(http: httpx2.Client) -> None:
    problem(http.post(f"/v1/students/{new_id(STUDENT)}/promote"), 404)
