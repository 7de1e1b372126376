"""A recommendation from label lists alone, over HTTP, through the queue, with real processes."""

import os
import signal

import httpx2
import pytest

from preceptor import Client
from service.cli.dev_stack import Stack

ZOO = [
    {"name": "felines", "labels": ["lion", "tiger", "house cat"]},
    {"name": "vehicles", "labels": ["truck", "jet plane", "bus"]},
    {"name": "tools", "labels": ["hammer", "saw", "drill"]},
]


def ask(stack: Stack, labels: list[str], **more: object) -> httpx2.Response:
    body = {"student": {"labels": labels}, "candidates": ZOO, **more}
    return httpx2.post(f"{stack.url}/v1/recommendations", json=body, headers={"Prefer": "wait=30"}, timeout=40)


@pytest.mark.parametrize("mode", ["coverage", "balanced"])
@pytest.mark.parametrize(
    ("labels", "best"),
    [(["cat", "leopard"], "felines"), (["airplane", "lorry"], "vehicles"), (["screwdriver", "chisel"], "tools")],
)
def test_the_nearest_label_set_comes_first(stack: Stack, mode: str, labels: list[str], best: str) -> None:
    answer = ask(stack, labels, mode=mode)
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert result["ranking"][0]["name"] == best
    assert [row["rank"] for row in result["ranking"]] == [1, 2, 3]
    costs = [row["cost"] for row in result["ranking"]]
    assert costs == sorted(costs)
    for row in result["ranking"]:
        assert sum(entry["mass"] for entry in row["plan"]) == pytest.approx(1, abs=1e-4)
        assert all(entry["sources"] for entry in row["plan"])


def test_a_second_answer_comes_from_the_cache(stack: Stack) -> None:
    labels = ["kitten", "sedan"]
    assert ask(stack, labels).json()["result"]["timings"]["caches"]["cost"] == {"hits": 0, "misses": 3}
    assert ask(stack, labels).json()["result"]["timings"]["caches"]["cost"] == {"hits": 3, "misses": 0}


def test_uncovered_classes_are_named(stack: Stack) -> None:
    result = ask(stack, ["cat", "photosynthesis"]).json()["result"]
    assert result["uncovered"] == ["photosynthesis"]
    assert "photosynthesis" in result["warnings"][0]


def test_own_embeddings_replace_the_encoder(stack: Stack) -> None:
    body = {
        "student": {"labels": ["a", "b"], "embeddings": [[1.0, 0.0], [0.0, 1.0]]},
        "candidates": [
            {"name": "far", "labels": ["c", "d"], "embeddings": [[-1.0, 0.0], [0.0, -1.0]]},
            {"name": "same", "labels": ["e", "f"], "embeddings": [[2.0, 0.0], [0.0, 3.0]]},
        ],
        "mode": "balanced",
    }
    answer = httpx2.post(f"{stack.url}/v1/recommendations", json=body, headers={"Prefer": "wait=30"}, timeout=40)
    ranking = answer.json()["result"]["ranking"]
    assert [(row["name"], row["cost"]) for row in ranking] == [("same", 0.0), ("far", 1.0)]


def test_an_unknown_encoder_is_a_readable_failure(stack: Stack) -> None:
    job = ask(stack, ["cat", "dog"], encoder="word2vec-3000").json()
    assert job["status"] == "failed"
    assert "word2vec-3000" in job["error"]["detail"]


def test_a_killed_worker_loses_nothing(stack: Stack, client: Client) -> None:
    worker = stack.process("worker-recommend")
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    made = httpx2.post(
        f"{stack.url}/v1/recommendations", json={"student": {"labels": ["cat", "dog"]}, "candidates": ZOO}
    )
    assert made.status_code == 202
    stack.start_process("worker-recommend", ["-m", "worker", "--lane", "recommend"])
    result = client.recommendations.get(made.json()["id"]).wait(timeout=60)
    assert result.ranking[0].name == "felines"


def test_a_killed_service_loses_nothing(stack: Stack, client: Client) -> None:
    key = {"Idempotency-Key": "before-the-kill"}
    body = {"student": {"labels": ["cat", "dog"]}, "candidates": ZOO}
    first = httpx2.post(f"{stack.url}/v1/recommendations", json=body, headers=key)
    service = stack.process("service")
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    stack.start_process("service", ["-m", "service"])
    again = Client(stack.url, max_retries=20)
    with again:
        assert again.recommendations.get(first.json()["id"]).wait(timeout=60).ranking
    second = httpx2.post(f"{stack.url}/v1/recommendations", json=body, headers=key)
    assert second.json()["id"] == first.json()["id"]
