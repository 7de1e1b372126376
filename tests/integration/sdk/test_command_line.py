"""`preceptor` as a person and as a program use it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from preceptor import Client
from preceptor.cli import app
from preceptor.contract import ids
from preceptor.contract.distillations import Student
from preceptor.contract.teachers import TeacherStatus
from preceptor.contract.validations import ValidationResult

from .small_state import Fault, SmallService

PROGRAM = Path(sys.executable).with_name("preceptor")


@pytest.fixture
def cli(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command line against the small service."""
    monkeypatch.setenv("PRECEPTOR_URL", url)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def started(url: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The installed program in a process of its own."""
    variables = {**os.environ, "PRECEPTOR_URL": url, **environment}
    return subprocess.Popen(
        [str(PROGRAM), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        # Tests that a shell runs in the background ignore interrupts, and their children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    """A folder with an ONNX teacher and a pickle beside it."""
    folder = tmp_path / "pets"
    folder.mkdir()
    manifest = {
        "name": "pets",
        "modality": "image",
        "labels": ["cat", "dog"],
        "source": {"kind": "onnx"},
        "preprocessing": {"modality": "image", "size": [8, 8]},
    }
    (folder / "teacher.json").write_text(json.dumps(manifest))
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "optimizer.pt").write_bytes(b"pickle")
    return folder


def printed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_teachers_from_add_to_rm(cli: Any, onnx: Path) -> None:
    added = cli("teachers", "add", onnx, "--tag", "zoo")
    assert added.exit_code == 0, added.output
    assert "ready" in added.stdout
    assert "optimizer.pt' is not accepted: files of this type can run code" in added.stderr
    listed = printed(cli("teachers", "list", "--json"))
    assert [(entry["name"], entry["tags"]) for entry in listed] == [("pets", ["zoo"])]
    assert "pets" in cli("teachers", "list").stdout
    assert printed(cli("--json", "teachers", "show", "pets"))["id"] == listed[0]["id"]
    changed = cli("teachers", "update", "pets", "--name", "pets 2", "--accuracy", "0.5")
    assert "0.5000 (as claimed)" in changed.stdout
    assert cli("teachers", "update", "pets 2").exit_code == 2
    removed = cli("teachers", "rm", "pets 2")
    assert removed.stdout == f"Removed {listed[0]['id']}\n"
    gone = cli("teachers", "show", "pets 2")
    assert gone.exit_code == 1
    assert "there is no teacher with the id or name 'pets 2'" in gone.stderr
    assert cli("teachers", "list").stderr.startswith("The zoo is empty")


def test_a_rejected_teacher_ends_with_code_1_and_the_reason(cli: Any, onnx: Path, service: SmallService) -> None:
    service.verdict = ValidationResult(status=TeacherStatus.REJECTED, reason="labels repeat", seconds=0.1)
    result = cli("teachers", "add", onnx)
    assert result.exit_code == 1
    assert "was rejected: labels repeat" in result.stderr


def test_probes_and_labels(cli: Any, tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    file.write_bytes(b"123")
    probe = printed(cli("probes", "add", file, "--labels", "a, b", "--json"))
    assert probe["labels"] == ["a", "b"]
    assert probe["id"] in cli("probes", "list").stdout
    assert "items" in cli("probes", "show", probe["id"]).stdout
    assert cli("probes", "rm", probe["id"]).exit_code == 0
    assert printed(cli("probes", "list", "--json")) == []
    names = tmp_path / "labels.txt"
    names.write_text("cat\n鳥\n\nbig, bad wolf\n", encoding="utf-8")
    made = printed(cli("labels", "add", "--file", names, "--json"))
    assert made["labels"] == ["cat", "鳥", "big, bad wolf"]
    assert "鳥" in cli("labels", "show", made["id"]).stdout
    names.write_text('["x", "y"]')
    assert printed(cli("labels", "add", "--file", names, "--json"))["labels"] == ["x", "y"]
    assert len(printed(cli("labels", "list", "--json"))) == 2
    assert cli("labels", "add").exit_code == 2


def test_recommend_prints_the_ranking_and_its_reasons(cli: Any, service: SmallService) -> None:
    result = cli("recommend", "--labels", "cat,dog", "--top-k", "3")
    assert result.exit_code == 0, result.output
    out = result.stdout
    assert "0.1235" in out
    assert "best [bold]\N{REPLACEMENT CHARACTER}[31m" in out, "names are text, not markup and not control codes"
    assert "12 ms (cached: cost)" in out
    assert "cat-like (80%, 0.050)" in out
    assert "uncovered; nearest: dog-like" in out
    assert "No ranked teacher covers: dog" in out
    assert "broken one" in out
    assert "its weights cannot be read" in out
    assert "Note: no teacher is clearly best" in out
    assert "Time: 500 ms (queued 2 ms; encode 100 ms)" in out
    assert "Answered by a cache: cost 1 of 2" in out
    assert "\x1b" not in out + result.stderr
    sent = json.loads(service.jobs[next(iter(service.jobs))].request.model_dump_json())
    assert sent["top_k"] == 3


def test_recommend_as_json_with_files_and_names(
    cli: Any, service: SmallService, client: Client, tmp_path: Path
) -> None:
    teacher = client.teachers.add("zoo's best", source={"kind": "predictions"}, modality="text", labels=["x", "y"])
    names, data = tmp_path / "names.txt", tmp_path / "data.csv"
    names.write_text("cat\ndog\n")
    data.write_text("text,label\n")
    result = cli(
        "recommend", "--labels-file", names, "--probe", data, "--teacher", "zoo's best", "--tag", "t", "--mode",
        "balanced", "--json",
    )  # fmt: skip
    job = printed(result)
    assert job["status"] == "succeeded"
    assert job["result"]["ranking"][0]["rank"] == 1
    assert job["request"]["teachers"]["ids"] == [teacher.id]
    assert job["request"]["probe"] in service.probes
    assert job["request"]["student"]["labels"] == ["cat", "dog"]
    service.finished = False
    waiting = cli("recommend", "--labels", "cat,dog", "--no-wait")
    assert "is running. Follow it with `preceptor jobs wait rec_" in waiting.stdout
    assert printed(cli("recommend", "--labels", "cat,dog", "--no-wait", "--json"))["status"] == "running"


def test_a_failed_job_ends_with_code_1_and_its_json_is_still_printed(cli: Any, service: SmallService) -> None:
    service.failing = True
    result = cli("recommend", "--labels", "cat,dog", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["status"] == "failed"
    told = json.loads(result.stderr.splitlines()[-1])
    assert told["error"]["detail"].startswith("No teacher could be loaded")
    readable = cli("recommend", "--labels", "cat,dog")
    assert readable.exit_code == 1
    assert readable.stdout == ""
    assert "failed: No teacher could be loaded" in readable.stderr
    assert "Traceback" not in readable.stderr


def test_distill_says_whether_it_helped_and_downloads(
    cli: Any, student: Student, service: SmallService, tmp_path: Path
) -> None:
    data = tmp_path / "data.npz"
    data.write_bytes(b"123")
    out = tmp_path / "student"
    result = cli(
        "distill", "--data", data, "--teacher", ids.new_id("tch"), "--student", "cnn", "--epochs", "3", "--seeds",
        "2", "--output", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "0.9100 (mean of 2 seeds, 0.9000 to 0.9200)" in result.stdout
    assert "+6.00 points (90 % interval +3.00 to +9.00)" in result.stdout
    assert "Verdict: helped. Use the distilled student." in result.stdout
    assert "half way" in result.stderr
    assert {path.name for path in out.iterdir()} == set(service.artifacts)
    (sent,) = [job.request for job in service.jobs.values()]
    assert (sent.training.epochs, sent.training.seeds, sent.student.name) == (3, 2, "cnn")
    assert cli("distill", "--data", data).exit_code == 2
    both = cli("distill", "--data", data, "--teacher", "x", "--recommendation", ids.new_id("rec"))
    assert both.exit_code == 2


def test_distill_sets_whatever_the_contract_knows(
    cli: Any, student: Student, service: SmallService, tmp_path: Path
) -> None:
    data = tmp_path / "data.npz"
    data.write_bytes(b"123")
    given = ("distill", "--data", data, "--teacher", ids.new_id("tch"))
    result = cli(
        *given, "--loss", "relational", "--set", "schedule=cosine", "--set", "early_stopping.patience=7", "--set",
        "ema=0.99", "--controls",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (sent,) = [job.request for job in service.jobs.values()]
    assert (sent.loss.name, sent.training.schedule, sent.training.ema) == ("relational", "cosine", 0.99)
    assert sent.training.early_stopping.patience == 7
    assert sent.compare == "full"
    unknown = cli(*given, "--set", "speed=9")
    assert unknown.exit_code == 1
    assert "/training/speed" in unknown.stderr
    assert cli(*given, "--set", "schedule").exit_code == 2
    assert cli(*given, "--set", "ema=0.9", "--set", "ema.x=1").exit_code == 2
    assert cli(*given, "--controls", "--no-compare").exit_code == 2


def test_jobs_events_and_students(cli: Any, client: Client, student: Student, tmp_path: Path) -> None:
    job = client.distillations.create(ids.digest_id("prb", "0" * 64), teachers=[ids.new_id("tch")])
    assert job.id in cli("jobs", "list", "--kind", "distillation").stdout
    assert len(printed(cli("jobs", "list", "--json", "--limit", "1"))) == 1
    assert "Verdict: helped" in cli("jobs", "show", job.id).stdout
    assert "Verdict: helped" in cli("jobs", "wait", job.id).stdout
    lines = cli("events", job.id).stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["status", "progress", "epoch", "status"]
    assert "50% half way (about 3.0 s left)" in lines[1]
    assert "with teacher, epoch 1, loss 0.500, accuracy 0.750" in lines[2]
    objects = [json.loads(line) for line in cli("events", job.id, "--after", "1001-0", "--json").stdout.splitlines()]
    assert [one["event"] for one in objects] == ["epoch", "status"]
    assert printed(cli("jobs", "cancel", job.id, "--json"))["status"] == "canceled"
    assert student.id in cli("students", "list").stdout
    assert student.artifacts[0].sha256 in cli("students", "show", student.id).stdout
    fetched = cli("students", "download", student.id, "config.json", "-o", tmp_path)
    assert fetched.stdout == f"{tmp_path}/config.json\n"
    assert printed(cli("students", "promote", student.id, "--name", "t2", "--json"))["name"] == "t2"
    assert student.id in cli("students", "promote", student.id).stdout


def test_health_and_version(cli: Any, service: SmallService) -> None:
    assert printed(cli("health", "--json"))["status"] == "ok"
    service.workers = False
    bad = cli("health")
    assert bad.exit_code == 1
    assert "no worker on this lane" in bad.stdout
    assert set(printed(cli("version", "--json"))) == {"client", "service", "api", "python"}


def test_errors_read_well(cli: Any, service: SmallService) -> None:
    twice = cli("recommend", "--labels", "cat,cat")
    assert (twice.exit_code, twice.stdout) == (1, "")
    assert twice.stderr == "Error: /student/labels: labels must be distinct: 'cat' stands at positions 0 and 1\n"
    service.fail("POST", "/v1/recommendations", Fault(500))
    broken = cli("recommend", "--labels", "cat,dog", "--json")
    assert broken.exit_code == 1
    assert json.loads(broken.stderr)["error"]["status"] == 500
    service.fail("POST", "/v1/recommendations", Fault(500))
    assert "request req-1" in cli("recommend", "--labels", "cat,dog").stderr
    assert cli("recommend").exit_code == 2
    missing = cli("recommend", "--probe", "no-such-file.npz")
    assert missing.exit_code == 2
    assert "neither a file nor the id of a probe" in missing.stderr
    folder = cli("teachers", "add", "no-such-folder")
    assert (folder.exit_code, folder.stdout) == (1, "")
    assert "'no-such-folder' does not exist" in folder.stderr
    elsewhere = cli("teachers", "list", "--url", "localhost")
    assert "'localhost' is not the address of a service" in elsewhere.stderr


def test_the_program_itself_writes_clean_json(url: str, service: SmallService) -> None:
    process = started(url, "recommend", "--labels", "cat,鳥", "--json", PYTHONIOENCODING="ascii")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["result"]["student_labels"] == ["cat", "鳥"]
    assert out.isascii()
    assert "\x1b" not in out + err


def test_no_control_codes_leave_the_program_when_nobody_looks(url: str, student: Student) -> None:
    for arguments in (["recommend", "--labels", "cat,dog"], ["students", "list"], ["--help"]):
        process = started(url, *arguments, TERM="xterm-256color")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.strip()
        assert "\x1b" not in out + err


def test_a_reader_that_leaves_early_hears_no_complaint(url: str, client: Client) -> None:
    for number in range(30):
        client.recommendations.create(["a", f"b{number}"])
    process = started(url, "jobs", "list", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.wait(60)
    assert err == ""
    assert process.returncode == 1


def test_ctrl_c_stops_the_waiting_and_says_that_the_job_goes_on(url: str, service: SmallService) -> None:
    service.finished = False
    process = started(url, "recommend", "--labels", "cat,dog")
    assert process.stderr is not None
    first = process.stderr.readline()  # the first event has arrived: the program is waiting
    assert "running" in first
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on. `preceptor jobs wait rec_" in err
    assert "Traceback" not in err


def test_nothing_listens(tmp_path: Path) -> None:
    before = time.monotonic()
    process = started("http://127.0.0.1:9", "health", "--json")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "start it with `make up`" in json.loads(err)["error"]["detail"].lower()
    assert time.monotonic() - before < 30
