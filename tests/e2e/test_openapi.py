"""The service against its own OpenAPI document: schemathesis makes the requests, over a real socket.

Every check of schemathesis is on. What it reports and is right all the same is named in `EXPLAINED`, with the reason
and the text that the answer must have; anything else is a failure.
"""

import base64
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.app import create_app
from service.core.settings import Settings
from tests.integration.api.seeds import Seeds, plant
from tests.integration.api.serving import serve

ACCEPTANCE = "positive_data_acceptance"


@dataclass(frozen=True)
class Explained:
    """A report that is no fault: operations, check, what the answer says, and why it is right."""

    operations: str
    check: str
    says: str
    why: str


_NO_HTTP = "it is no HTTP message, and refused before there is a request: the server answers 400 and hangs up"
EXPLAINED = [
    *(
        Explained(".*", check, "^400 Invalid HTTP request received", _NO_HTTP)
        for check in ("content_type_conformance", "response_headers_conformance")
    ),
    Explained(
        "GET /health/ready",
        "not_a_server_error",
        '"status":"failing".*no worker on this lane',
        "no worker runs in this test; 503 with the reason is the declared answer",
    ),
    Explained(
        "GET /v1/[a-z-]+(/{id}/deliveries)?",
        ACCEPTANCE,
        "is not a cursor of this service",
        "a cursor is opaque: the schema can give its alphabet, not which strings were handed out",
    ),
    Explained(
        "(POST|PUT) .*",
        ACCEPTANCE,
        "Idempotency-Key '.*' was used with another request",
        "the generator sends one key with several requests, which is what the key is there to refuse",
    ),
    Explained(
        ".* /v1/[a-z-]+/{id}.*",
        ACCEPTANCE,
        "path:id: that is not the id of a",
        "chains of requests carry the id of one resource over to another kind",
    ),
    Explained(
        "PATCH /v1/teachers/{id}",
        ACCEPTANCE,
        "was changed since you read it|If-Match must be the ETag",
        "whether a precondition holds depends on the resource, as with 404 and 409",
    ),
    Explained(
        "POST /v1/(label-sets|recommendations|teachers|distillations)",
        ACCEPTANCE,
        "one entry a label|one row a label|must have the same dimension|not in the set|a positive sum|has no direction"
        "|labels must be distinct|must not be empty",
        "the members of a label set must agree with each other, after Unicode normalisation",
    ),
    Explained(
        "POST /v1/recommendations",
        ACCEPTANCE,
        "give student|needs a probe|candidates are bare label sets|own embeddings for the student",
        "which options go together; as a union of schemas it would be unreadable in every generated client",
    ),
    Explained(
        "POST /v1/recommendations",
        ACCEPTANCE,
        "names teachers that do not exist|has no labels, and prediction_transport|and the classes of",
        "what is registered decides",
    ),
    Explained(
        "POST /v1/distillations",
        ACCEPTANCE,
        "give either teachers or recommendation|must be labelled|of one kind|other classes than data",
        "which options go together, and what is registered",
    ),
    Explained(
        "POST /v1/teachers",
        ACCEPTANCE,
        r"modality is '.*' but source.preprocessing is for|labels are missing",
        "the source and the rest must agree",
    ),
    Explained(
        "POST /v1/webhooks",
        ACCEPTANCE,
        "is not a public address|must be an IPv6 address|a port is at most 65535",
        "where an address leads, the schema cannot tell",
    ),
    Explained(
        "POST /v1/probes|PUT /v1/teachers/{id}/predictions/{probe}",
        ACCEPTANCE,
        "problem:(invalid-probe|unsupported-type)",
        "the schema says that the body is a file; whether its bytes are a probe only reading them can tell",
    ),
    Explained(
        "PUT /v1/teachers/{id}/files/{name}",
        ACCEPTANCE,
        "is not a file of a|is not accepted: files of this type|takes no files|has no model files",
        "which names are files depends on the teacher's source",
    ),
]


@pytest.fixture
def seeds(settings: Settings) -> Seeds:
    return plant(settings)


@pytest.fixture
def url(settings: Settings, seeds: Seeds) -> Iterator[str]:
    with serve(create_app(settings)) as address, jobs_ended(address):
        yield address


@contextmanager
def jobs_ended(url: str) -> Iterator[None]:
    """End each job soon after it was accepted, so that nobody follows its events for ever: there is no worker."""
    over = threading.Event()

    def end() -> None:
        with httpx2.Client(base_url=url, timeout=30) as client:
            while not over.wait(0.2):
                for job in client.get("/v1/jobs?status=queued&limit=200").json()["items"]:
                    client.post(f"/v1/jobs/{job['id']}/cancel")

    thread = threading.Thread(target=end)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_generated_requests(url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Any request that the document allows or forbids; then chains of them, ids taken from the answers."""
    report = run(url, tmp_path, "", ["--phases", "coverage,fuzzing,stateful", "-n", "4"])
    assert report["operations"]["tested"] == report["operations"]["total"] >= 33
    assert report["test_cases"]["generated"] >= 1000
    no_surprise(tmp_path, capfd)


def test_requests_about_what_is_there(
    url: str, seeds: Seeds, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same with ids of real resources, so that success is checked for each of them and not 404 alone."""
    ids = {
        "/v1/students/{id}": {"id": seeds.spare},
        "/v1/students/{id}/artifacts/{name}": {"id": seeds.student, "name": "model.onnx"},
        "/v1/students/{id}/promote": {"id": seeds.student},
        "/v1/recommendations/{id}": {"id": seeds.done},
        "/v1/jobs/{id}": {"id": seeds.done},
        "/v1/jobs/{id}/events": {"id": seeds.done},
        "/v1/jobs/{id}/cancel": {"id": seeds.queued},
        "/v1/label-sets/{id}": {"id": seeds.label_set},
        "/v1/teachers/{id}/predictions/{probe}": {"id": seeds.box, "probe": seeds.probe},
        "/v1/teachers/{id}/files/{name}": {"id": seeds.teacher, "name": "model.onnx"},
        "/v1/webhooks/{id}": {"id": seeds.webhook},
        "/v1/webhooks/{id}/deliveries": {"id": seeds.webhook},
        "/v1/webhooks/{id}/deliveries/{message}": {"id": seeds.webhook, "message": seeds.message},
        "/v1/webhooks/{id}/replay": {"id": seeds.webhook},
        "/v1/webhooks/{id}/secret": {"id": seeds.webhook},
        "/v1/webhooks/{id}/enable": {"id": seeds.webhook},
    }
    config = ""
    for path, names in ids.items():
        config += f'[[operations]]\ninclude-path = "{path}"\n[operations.parameters]\n'
        config += "".join(f'"path.{name}" = "{id}"\n' for name, id in names.items())
    chosen = [part for path in ids for part in ("--include-path", path)]
    report = run(url, tmp_path, config, ["--phases", "coverage,fuzzing", "-n", "4", *chosen])
    assert report["operations"]["tested"] == 19
    rates = report["valid_rates"]
    for operation in ("GET /v1/students/{id}/artifacts/{name}", "GET /v1/recommendations/{id}"):
        assert sum(phase["accepted"] for phase in rates[operation].values()) > 0, rates[operation]
    no_surprise(tmp_path, capfd)


def run(url: str, folder: Path, config: str, arguments: list[str]) -> dict[str, Any]:
    """Run schemathesis to its end; gives its report."""
    (folder / "schemathesis.toml").write_text(config)
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", f"{url}/openapi.json",
        "--checks", "all", "--seed", "1", "--generation-database", "none", "--no-shrink", "--continue-on-failure",
        "--suppress-health-check", "all", "--request-timeout", "30", "--no-color",
        "--report", "json,ndjson", "--report-json-path", "report.json", "--report-ndjson-path", "events.ndjson",
        *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout[-4000:] + done.stderr[-4000:]
    report = json.loads((folder / "report.json").read_text())
    assert report["complete"], report["stop_reason"]
    assert not report["errors"], report["errors"]
    return report


def no_surprise(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every failed check is explained, and the service logged no unexpected error."""
    unexplained = [
        f"{operation}: {check}\n  {message}\n  {answer[:600]}"
        for operation, check, message, answer in failures(folder / "events.ndjson")
        if not any(
            re.fullmatch(entry.operations, operation)
            and entry.check == check
            and re.search(entry.says, answer, re.DOTALL)
            for entry in EXPLAINED
        )
    ]
    assert not unexplained, "\n".join(unexplained[:20])
    assert "unexpected error" not in capfd.readouterr().out


def failures(events: Path) -> Iterator[tuple[str, str, str, str]]:
    """Each failed check of a run: operation, check, message, the answer's status and body."""
    with events.open() as lines:
        for line in lines:
            finished = json.loads(line).get("ScenarioFinished")
            if finished is None:
                continue
            recorder = finished["recorder"]
            for case, checks in recorder.get("checks", {}).items():
                for check in checks:
                    if check["status"] == "failure":
                        failure = check["failure_info"]["failure"]
                        yield failure["operation"], check["name"], failure["message"], _answer(recorder, case)


def _answer(recorder: dict[str, Any], case: str) -> str:
    response = (recorder.get("interactions", {}).get(case) or {}).get("response") or {}
    body = (response.get("content") or {}).get("$base64", "")
    return f"{response.get('status_code')} " + base64.b64decode(body).decode(errors="replace")
