"""Limits on how many documents there are, and on how long a page of them gets."""

import httpx2
import pytest
from fastapi import FastAPI

from preceptor import Client
from service.app import create_app
from service.core.settings import Settings
from service.core.state import State
from service.core.storage import documents

from .test_resources import ONNX, labelled_probe


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    settings.max_teachers = settings.max_probes = settings.max_label_sets = 1
    return create_app(settings)


def test_one_more_than_the_most_is_refused(http: httpx2.Client) -> None:
    bodies = [{"labels": ["cat", "dog"]}, {"labels": ["cat", "cow"]}]
    first = http.post("/v1/label-sets", json=bodies[0])
    assert first.status_code == 201
    refused = http.post("/v1/label-sets", json=bodies[1], headers={"Idempotency-Key": "k"})
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("conflict")
    assert "PRECEPTOR_MAX_LABEL_SETS" in refused.json()["detail"]
    assert "DELETE /v1/label-sets/<id>" in refused.json()["detail"]
    again = http.post("/v1/label-sets", json=bodies[0])
    assert (again.status_code, again.json()) == (200, first.json())
    assert http.delete(first.headers["location"]).status_code == 204
    assert http.post("/v1/label-sets", json=bodies[1], headers={"Idempotency-Key": "k"}).status_code == 201


def test_a_refused_probe_leaves_no_files(http: httpx2.Client, settings: Settings) -> None:
    first = http.post("/v1/probes?format=npz", content=labelled_probe())
    assert first.status_code == 201
    refused = http.post("/v1/probes?format=csv", content=b"text,label\nmiaow,cat\nwoof,dog\n")
    assert refused.status_code == 409
    assert "PRECEPTOR_MAX_PROBES" in refused.json()["detail"]
    assert [path.name for path in (settings.data / "store" / "probes").iterdir()] == [first.json()["id"]]
    assert http.post("/v1/probes?format=npz", content=labelled_probe()).status_code == 200
    assert http.get(f"/v1/probes/{first.json()['id']}").status_code == 200


def test_teachers_too(http: httpx2.Client) -> None:
    first = http.post("/v1/teachers", json=ONNX)
    assert first.status_code == 201, first.text
    assert http.post("/v1/teachers", json=ONNX).status_code == 409
    assert http.delete(first.headers["location"]).status_code == 204
    assert http.post("/v1/teachers", json=ONNX).status_code == 201


def test_a_page_ends_where_it_would_get_too_long(
    http: httpx2.Client, base_url: str, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    state: State = app.state.preceptor
    state.label_sets.most = 0
    monkeypatch.setattr("service.core.storage.documents.BYTES", 5000)
    monkeypatch.setattr(documents, "BYTES", 2000)
    made = [
        http.post("/v1/label-sets", json={"labels": [f"{number} {place:03d}" for place in range(size)]}).json()["id"]
        for number, size in enumerate([2, 100, 100, 2000, 2, 2, 2, 100])
    ]
    pages: list[list[str]] = []
    cursor = None
    while True:
        query = {"limit": 200} | ({"cursor": cursor} if cursor else {})
        answer = http.get("/v1/label-sets", params=query)
        page = answer.json()
        pages.append([item["id"] for item in page["items"]])
        assert len(pages[-1]) == 1 or len(answer.content) < 5200
        cursor = page["next"]
        if cursor is None:
            break
        assert f"cursor={cursor}" in answer.headers["link"]
    listed = [id for page in pages for id in page]
    assert sorted(listed) == sorted(made)
    assert 3 <= len(pages) <= 6
    with Client(base_url) as client:
        assert [one.id for one in client.label_sets.list()] == listed


def test_the_most_is_met_exactly_though_not_every_one_is_counted(http: httpx2.Client, app: FastAPI) -> None:
    state: State = app.state.preceptor
    state.label_sets.most = 45
    answers = [http.post("/v1/label-sets", json={"labels": ["a", f"b{number}"]}).status_code for number in range(50)]
    assert answers == [201] * 45 + [409] * 5
