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
from preceptor.contract.distillations import Gain, Student
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
    assert "continues. `preceptor jobs wait rec_" in err
    assert "Traceback" not in err


def test_nothing_listens(tmp_path: Path) -> None:
    before = time.monotonic()
    process = started("http://127.0.0.1:9", "health", "--json")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "start it with `make up`" in json.loads(err)["error"]["detail"].lower()
    assert time.monotonic() - before < 30


def test_a_folder_is_checked_in_one_screen(cli: Any, onnx: Path, service: SmallService) -> None:
    found = cli("teachers", "check", onnx)
    assert found.exit_code == 0, found.output
    assert "cat, dog" in found.stdout
    assert "size [8, 8]" in found.stdout
    assert "Not uploaded: 'optimizer.pt' is not accepted" in found.stdout
    assert found.stdout.endswith("It can be used. Nothing was registered.\n")
    assert service.teachers == {}
    (onnx / "notes.txt").write_text("x")
    as_json = printed(cli("teachers", "check", onnx, "--json"))
    assert as_json["teacher"]["status"] == "ready"
    assert as_json["notes"] == ["not uploaded, because a source of kind 'onnx' does not use them: notes.txt"]
    assert set(as_json["skipped"]) == {"optimizer.pt"}
    service.verdict = ValidationResult(status=TeacherStatus.REJECTED, reason="labels repeat", seconds=0.1)
    rejected = cli("teachers", "check", onnx)
    assert rejected.exit_code == 1
    assert "Rejected: labels repeat" in rejected.stdout


def test_a_probe_is_checked(cli: Any, service: SmallService, tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    file.write_bytes(b"123")
    found = cli("probes", "check", file, "--labels", 'a,"b')
    assert found.exit_code == 0, found.output
    assert "[1, 2], 2 values" in found.stdout
    assert "Nothing was stored." in found.stdout
    assert service.probes == {}
    assert printed(cli("probes", "check", file, "--json"))["stored"] is False
    for wrong, message in (("s3://x/y", "is a URL"), (tmp_path, "is a folder"), ("none.npz", "neither a file")):
        refused = cli("probes", "check", wrong)
        assert (refused.exit_code, message in " ".join(refused.stderr.split())) == (2, True), refused.stderr


def test_label_files_in_other_forms_and_encodings(cli: Any, tmp_path: Path) -> None:
    names = tmp_path / "id2label.json"
    names.write_text('{"1": "dog", "0": "cat"}', encoding="utf-16")
    made = cli("labels", "add", "--file", names, "--json")
    assert printed(made)["labels"] == ["cat", "dog"]
    assert "was read as UTF-16 with a byte order mark" in made.stderr
    (tmp_path / "l1.txt").write_bytes("Käse\nBrot\n".encode("latin-1"))
    found = cli("recommend", "--labels-file", tmp_path / "l1.txt", "--json")
    assert printed(found)["request"]["student"]["labels"] == ["Käse", "Brot"]
    assert "read as Latin-1" in found.stderr
    (tmp_path / "gbk.txt").write_bytes("狗子\n花花\n".encode("gbk"))
    for wrong in (tmp_path / "gbk.txt", tmp_path / "none.txt", tmp_path):
        refused = cli("labels", "add", "--file", wrong)
        assert refused.exit_code == 1
        assert refused.stderr.startswith("Error: ")
        assert str(wrong) in refused.stderr
    assert cli("labels", "add", "a,\u200b").exit_code == 2


def test_students_are_listed_with_their_gain_and_removed(cli: Any, service: SmallService, student: Student) -> None:
    gain = Gain(mean=0.05, low=0.01, high=0.09)
    update = {"accuracy": 0.75, "gain": gain, "verdict": "helped"}
    service.students[student.id] = student.model_copy(update=update)
    [row] = [line for line in cli("students", "list").stdout.splitlines() if student.id in line]
    assert row.split()[2:] == ["2", "0.7500", "+5.00", "helped"]
    assert "+5.00 points (90 % interval +1.00 to +9.00)" in cli("students", "show", student.id).stdout
    assert cli("students", "rm", student.id).stdout == f"Removed {student.id}\n"
    assert service.students == {}
    assert cli("students", "rm", student.id).exit_code == 1


def test_webhooks(cli: Any, service: SmallService, client: Client) -> None:
    made = cli("webhooks", "add", "https://example.org/hook", "--event", "job.failed")
    assert "whsec_x" in made.stdout
    [webhook] = service.webhooks.values()
    assert webhook.events == ["job.failed"]
    assert webhook.id in cli("webhooks", "list").stdout
    early = cli("webhooks", "test", webhook.id)
    assert early.exit_code == 1
    assert "none of the newest 50 jobs has ended" in early.stderr
    client.recommendations.create(["a", "b"])
    assert "is succeeded: status 200" in cli("webhooks", "test", webhook.id).stdout
    service.response = 500
    broken = cli("webhooks", "test", webhook.id)
    assert (broken.exit_code, "is pending: status 500" in broken.stdout) == (1, True)
    wrong = cli("webhooks", "add", "https://example.org/hook", "--event", "job.lost")
    assert wrong.exit_code == 1
    assert "/events/0" in wrong.stderr
    assert cli("webhooks", "delete", webhook.id).exit_code == 0
    assert "There are no webhooks" in cli("webhooks", "list").stderr


def test_predictions_of_a_black_box(cli: Any, client: Client, service: SmallService, tmp_path: Path) -> None:
    teacher = client.teachers.add("box", source={"kind": "predictions"}, modality="text", labels=["x", "y"])
    file = tmp_path / "p.npz"
    file.write_bytes(b"1234")
    probe = ids.digest_id("prb", "0" * 64)
    stored = cli("predictions", "upload", "box", probe, file, "--values", "logits")
    assert stored.exit_code == 0, stored.output
    [sent] = service.requests("PUT", f"/v1/teachers/{teacher.id}/predictions/{probe}")
    assert sent.query == [("values", "logits")]


def test_a_verdict_is_no_success_of_the_teacher(cli: Any, onnx: Path, service: SmallService) -> None:
    service.verdict = ValidationResult(status=TeacherStatus.REJECTED, reason="labels repeat", seconds=0.1)
    cli("teachers", "add", onnx)
    [job] = service.jobs
    shown = cli("jobs", "show", job).stdout
    assert "succeeded (the validation ran to its end" in shown
    assert "rejected: the teacher cannot be used" in shown
    assert "`preceptor jobs show` has the verdict" in cli("jobs", "list").stdout


def test_a_missing_key_is_named(cli: Any, service: SmallService) -> None:
    service.fail("GET", "/v1/teachers", Fault(401))
    assert "PRECEPTOR_API_KEY" in cli("teachers", "list").stderr
    assert "preceptor-server keys" in " ".join(cli("--help").stdout.split())


@pytest.mark.parametrize("url", ["http://[::1", "http://x:99999", "http://x:y", "nonsense", "ftp://x", "http://x/?a"])
def test_an_address_that_is_none(cli: Any, url: str) -> None:
    refused = cli("teachers", "list", "--url", url)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: ")
    assert "it looks like http://127.0.0.1:8321" in refused.stderr
