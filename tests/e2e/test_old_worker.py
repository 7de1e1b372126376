"""A worker of an older version beside a newer service: it does what it can read, and fails nothing that it cannot."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.upgrade.deployment import Deployment, until
from tests.upgrade.trees import ROOT, older

ZOO = [{"name": "felines", "labels": ["lion", "house cat"]}, {"name": "vehicles", "labels": ["truck", "bus"]}]


def submit(deployment: Deployment, **more: str) -> str:
    body = {"student": {"labels": ["cat", "leopard"]}, "candidates": ZOO, **more}
    answer = httpx2.post(f"{deployment.url}/v1/recommendations", json=body, timeout=20)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def job(deployment: Deployment, id: str) -> dict[str, Any]:
    return httpx2.get(f"{deployment.url}/v1/jobs/{id}", timeout=20).json()


def taken_by(deployment: Deployment, worker: str) -> set[str]:
    return {line["job"] for line in deployment.logged(worker, "job taken")}


def wait_ended(deployment: Deployment, id: str) -> None:
    until(lambda: job(deployment, id)["status"] in ("succeeded", "failed"), f"{id} has not ended", 90)
    assert job(deployment, id)["status"] == "succeeded", job(deployment, id)


@pytest.mark.timeout(300)
def test_an_old_worker_leaves_alone_what_it_cannot_read(tmp_path: Path) -> None:
    with Deployment(tmp_path / "deployment") as deployment:
        deployment.start_service("service", ROOT)
        deployment.start_worker("old", older(tmp_path / "older"), "recommend")
        newer = submit(deployment, priority="high")
        known = [submit(deployment), submit(deployment, priority="normal")]
        for id in known:
            wait_ended(deployment, id)

        # Its message comes first in the lane, and goes back to it: the old worker goes past it to whatever it can read.
        known.append(submit(deployment))
        wait_ended(deployment, known[-1])
        waiting = job(deployment, newer)
        assert (waiting["status"], waiting["deliveries"]) == ("queued", 0)
        deployment.start_worker("new", ROOT, "recommend")
        wait_ended(deployment, newer)
        done = job(deployment, newer)
        assert (done["deliveries"], done["request"]["priority"]) == (1, "high")
        assert done["result"]["ranking"][0]["name"] == "felines"
        assert job(deployment, known[0])["request"]["priority"] == "normal"
        assert taken_by(deployment, "old") == set(known)
        assert taken_by(deployment, "new") == {newer}
