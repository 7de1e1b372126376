"""MLflow runs against a server that keeps books, and against servers that are away, slow, or refuse."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from preceptor.contract.distillations import EpochMetrics
from worker.distillation.tracking.mlflow_run import JOB_TAG, MlflowRun, flat
from worker.distillation.tracking.mlflow_server import MlflowServer

SECRET = "Bearer hush"
Json = dict[str, Any]


class Books(ThreadingHTTPServer):
    """The part of MLflow's REST API that is used, in memory.

    Attributes
    ----------
    refuses
        Answer every request so, while it is not 200.
    failures
        So many requests are answered 503 first.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.experiments: dict[str, str] = {}
        self.runs: list[Json] = []
        self.asked: list[str] = []
        self.headers: list[str | None] = []
        self.refuses = 200
        self.failures = 0
        self.open = threading.Event()
        self.open.set()
        self.writing = threading.Lock()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, path: str, query: dict[str, list[str]], body: Json) -> tuple[int, Json]:
        match path.removeprefix("/api/2.0/mlflow/"):
            case "experiments/get-by-name":
                name = query["experiment_name"][0]
                if name not in self.experiments:
                    return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": name}
                return 200, {"experiment": {"experiment_id": self.experiments[name]}}
            case "experiments/create":
                id = self.experiments[body["name"]] = str(len(self.experiments) + 1)
                return 200, {"experiment_id": id}
            case "runs/search":
                wanted = body["filter"].split("'")[1]
                found = [run for run in self.runs if run["tags"].get(JOB_TAG) == wanted]
                return 200, {"runs": [{"info": {"run_id": run["id"]}} for run in found[: body["max_results"]]]}
            case "runs/create":
                tags = {pair["key"]: pair["value"] for pair in body["tags"]}
                run = {"id": str(len(self.runs)), "status": "RUNNING", "tags": tags, "params": {}, "metrics": []}
                self.runs.append({**run, "name": body["run_name"], "experiment": body["experiment_id"]})
                return 200, {"run": {"info": {"run_id": run["id"]}}}
            case "runs/log-batch":
                run = self.runs[int(body["run_id"])]
                assert len(body["metrics"]) <= 1000
                assert len(body["params"]) <= 100
                run["metrics"] += body["metrics"]
                run["params"] |= {pair["key"]: pair["value"] for pair in body["params"]}
                run["tags"] |= {pair["key"]: pair["value"] for pair in body["tags"]}
                return 200, {}
            case "runs/update":
                self.runs[int(body["run_id"])]["status"] = body["status"]
                return 200, {}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path}


class _Answer(BaseHTTPRequestHandler):
    server: Books

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Json) -> None:
        books = self.server
        books.open.wait(30)
        url = urlsplit(self.path)
        with books.writing:
            books.asked.append(url.path)
            books.headers.append(self.headers["Authorization"])
            if books.failures:
                books.failures -= 1
                status, found = 503, {}
            elif books.refuses != 200:
                status, found = books.refuses, {"error_code": "PERMISSION_DENIED", "message": "no"}
            else:
                status, found = books.answer(url.path, parse_qs(url.query), body)
        content = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def books() -> Iterator[Books]:
    server = Books()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.open.set()
    server.shutdown()
    server.server_close()


def _epoch(number: int) -> Json:
    metrics = EpochMetrics(epoch=number, loss=2.0 / number, cross_entropy=1.0, transport=0.5, accuracy=0.5, seconds=0.1)
    return {"arm": "with teacher", **metrics.model_dump(mode="json")}


def _run(uri: str, job: str = "job_1", **given: Any) -> MlflowRun:
    options: Json = {"pauses": (0.01,), "after_seconds": 20.0, **given}
    params = {"training.epochs": "3"}
    return MlflowRun(
        MlflowServer(uri, SECRET), "students", job, "mine", params, {"preceptor.teachers": "tch_1"}, **options
    )


def test_a_job_is_a_run(books: Books) -> None:
    run = _run(books.uri)
    for number in (1, 2, 3):
        run.event("epoch", _epoch(number))
    run.event("weight", {"weight": 0.3, "scores": {}, "reason": "it helps"})
    run.event("progress", {"fraction": 0.5})
    run.result({"gain": 0.05, "gain_low": 0.01}, {"preceptor.verdict": "helped"})
    run.end("FINISHED")
    assert run.wait(30)
    (kept,) = books.runs
    assert (kept["name"], kept["status"]) == ("mine", "FINISHED")
    assert kept["params"] == {"training.epochs": "3"}
    assert kept["tags"] == {
        JOB_TAG: "job_1",
        "preceptor.teachers": "tch_1",
        "preceptor.gate": "it helps",
        "preceptor.verdict": "helped",
    }
    loss = [(m["step"], m["value"]) for m in kept["metrics"] if m["key"] == "loss/with_teacher"]
    assert loss == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3))]
    final = {m["key"]: m["value"] for m in kept["metrics"] if m["key"].startswith("final/")}
    assert final == {"final/weight": 0.3, "final/gain": 0.05, "final/gain_low": 0.01}
    assert set(books.headers) == {SECRET}


def test_a_job_that_goes_on_goes_on_in_its_run(books: Books) -> None:
    for job, number, status in (("job_1", 1, None), ("job_2", 1, "FAILED"), ("job_1", 2, "FINISHED")):
        run = _run(books.uri, job)
        run.event("epoch", _epoch(number))
        run.end(status)
        assert run.wait(30)
    assert [run["status"] for run in books.runs] == ["FINISHED", "FAILED"]
    steps = [m["step"] for m in books.runs[0]["metrics"] if m["key"] == "loss/with_teacher"]
    assert steps == [1, 2]


def test_a_server_that_comes_back_misses_nothing(books: Books) -> None:
    books.failures = 4
    with capture_logs() as logs:
        run = _run(books.uri)
        run.event("epoch", _epoch(1))
        run.end("FINISHED")
        assert run.wait(30)
    assert books.runs[0]["status"] == "FINISHED"
    assert len(books.runs[0]["metrics"]) == 5
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_a_dead_port_costs_one_warning_and_no_time() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound and not listening: refused.
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with capture_logs() as logs:
            run = _run(uri, after_seconds=0.0)
            before = time.perf_counter()
            for number in range(1, 500):
                run.event("epoch", _epoch(number))
            run.end("FINISHED")
            spent = time.perf_counter() - before
            assert run.wait(30)
    assert spent < 5.0
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert "does not answer" in logs[0]["reason"]
    assert "hush" not in str(logs)


def test_a_server_that_hangs_holds_nobody_up(books: Books) -> None:
    books.open.clear()
    run = _run(books.uri, waiting=100)
    before = time.perf_counter()
    for number in range(1, 200):
        run.event("epoch", _epoch(number))
    run.end("FINISHED")
    assert time.perf_counter() - before < 5.0
    books.open.set()
    assert run.wait(30)
    assert books.runs[0]["status"] == "FINISHED"
    # What did not find room is left out; what came first is there.
    assert [m["step"] for m in books.runs[0]["metrics"] if m["key"] == "loss/with_teacher"] == list(range(1, 21))


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with capture_logs() as logs:
            server = MlflowServer(uri, SECRET, seconds=0.05)
            run = MlflowRun(server, "students", "job_1", "mine", {}, {}, pauses=(0.01,), after_seconds=0.0)
            run.end("FINISHED")
            assert run.wait(30)
    assert len(logs) == 1
    assert "ReadTimeout" in logs[0]["reason"]


def test_a_refusal_is_not_repeated(books: Books) -> None:
    books.refuses = 403
    with capture_logs() as logs:
        run = _run(books.uri)
        run.event("epoch", _epoch(1))
        assert run.wait(30)
        run.event("epoch", _epoch(2))
        run.end("FINISHED")
    assert len(books.asked) == 1
    assert len(logs) == 1
    assert "PERMISSION_DENIED" in logs[0]["reason"]
    assert "hush" not in str(logs)


def test_nested_values_become_parameters() -> None:
    assert flat({"loss": {"name": "wkd", "kappa": None}, "compare": True, "tags": ["a", "b"]}) == {
        "loss.name": "wkd",
        "compare": "True",
        "tags": "a, b",
    }
