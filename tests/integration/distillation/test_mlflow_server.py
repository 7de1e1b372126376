"""A distillation job, told to a real MLflow server. Set PRECEPTOR_TEST_MLFLOW to an `mlflow` command to run it."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from preceptor.contract.training import Training
from worker.distillation.distill import distill
from worker.distillation.inputs import ArrayItems, Recipe, TeacherSignal, TrainingData
from worker.distillation.tracking.mlflow_run import JOB_TAG, MlflowRun
from worker.distillation.tracking.mlflow_server import MlflowServer

COMMAND = os.environ.get("PRECEPTOR_TEST_MLFLOW") or shutil.which("mlflow")

pytestmark = [
    pytest.mark.skipif(COMMAND is None, reason="no mlflow command; set PRECEPTOR_TEST_MLFLOW"),
    pytest.mark.timeout(300),
    pytest.mark.slow,
]


def _ask(uri: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{uri}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on a free port, with its books in SQLite."""
    assert COMMAND is not None
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store, files = f"sqlite:///{folder / 'books.db'}", str(folder / "files")
    options = ["--backend-store-uri", store, "--artifacts-destination", files, "--workers", "1"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [COMMAND, "server", "--host", "127.0.0.1", "--port", str(port), *options],
            stdout=log,
            stderr=log,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            start_new_session=True,
        )
        found = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + 200
            while True:
                try:
                    urllib.request.urlopen(f"{found}/health", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < until, (folder / "log").read_text()
                    time.sleep(0.5)
            yield found
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)


def _problem() -> tuple[TrainingData, TeacherSignal]:
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    model = LogisticRegression(C=0.01, max_iter=1000).fit(x[:600], y[:600])
    logits = (x @ model.coef_.T + model.intercept_).astype(np.float32)
    cost = (1 - np.eye(10)).astype(np.float32)
    names = [str(n) for n in range(10)]
    labelled, transfer, test = np.arange(600, 650), np.arange(650, 800), np.arange(800, 1000)
    data = TrainingData(
        ArrayItems(features=x[labelled]),
        y[labelled].astype(np.int64),
        names,
        ArrayItems(features=x[transfer]),
        ArrayItems(features=x[test]),
        y[test].astype(np.int64),
    )
    return data, TeacherSignal("digits", names, logits[labelled], cost, logits[transfer])


def test_a_distillation_is_a_run_of_a_real_server(uri: str, tmp_path: Path) -> None:
    data, teacher = _problem()

    def tracked() -> MlflowRun:
        server = MlflowServer(uri)
        return MlflowRun(
            server, "a students' class", "job_real", "digits", {"loss.name": "transport"}, {"teachers": "t"}
        )

    run = tracked()
    recipe = Recipe(training=Training(epochs=3))
    outcome = distill(recipe, data, [teacher], on_event=run.event, should_stop=lambda: False, folder=tmp_path)
    run.end(None)
    assert run.wait(60)
    # The job goes on elsewhere: the same run, and its end.
    run = tracked()
    run.result({"gain": 0.125}, {"preceptor.verdict": outcome.verdict})
    run.end("FINISHED")
    assert run.wait(60)

    name = "experiments/get-by-name?experiment_name=a%20students%27%20class"
    number = _ask(uri, name)["experiment"]["experiment_id"]
    (found,) = _ask(uri, "runs/search", {"experiment_ids": [number]})["runs"]
    assert found["info"]["status"] == "FINISHED"
    assert found["info"]["run_name"] == "digits"
    assert {pair["key"]: pair["value"] for pair in found["data"]["params"]} == {"loss.name": "transport"}
    tags = {pair["key"]: pair["value"] for pair in found["data"]["tags"]}
    assert tags[JOB_TAG] == "job_real"
    assert tags["preceptor.verdict"] == outcome.verdict
    last = {metric["key"]: metric["value"] for metric in found["data"]["metrics"]}
    assert last["final/gain"] == 0.125
    history = _ask(
        uri, f"metrics/get-history?run_id={found['info']['run_id']}&metric_key=loss%2F" + _arm(outcome.weight)
    )["metrics"]
    assert [entry["value"] for entry in history] == pytest.approx([metrics.loss for metrics in outcome.history])
    assert [entry["step"] for entry in history] == [1, 2, 3]


def _arm(weight: float) -> str:
    return "with_teacher" if weight > 0 else "without_teacher"
