"""The demo: waits while a job moves, and an interruption cancels the job and stops the stack."""

import json
import signal
from pathlib import Path
from typing import Any, Self

import pytest

from examples import demo
from preceptor import WaitTimeoutError
from preceptor.contract.base import now
from preceptor.contract.ids import new_id
from preceptor.contract.jobs import JobStatus, JobSummary

DONE: list[str] = []
"""What the parts of the demo were asked to do, in order."""


class Job:
    """A job during which something happens."""

    def __init__(self, event: Any) -> None:
        self._event = event

    def wait(self, timeout: float | None = None, progress: bool = False, *, idle_timeout: float | None = None) -> Any:
        assert timeout is None, "a job that moves is never given up"
        assert idle_timeout
        DONE.append("wait")
        self._event()

    def cancel(self) -> None:
        # A second Ctrl-C must not break off what the first one began.
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        DONE.append("cancel")


class Client:
    """A service whose first ranking is interrupted."""

    job: Job

    def __init__(self, url: str, timeout: float) -> None:
        self.teachers = self.probes = self.recommendations = self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        DONE.append("close")

    def upload(self, path: Path) -> Any:
        return type("Probe", (), {"items": 3})

    def create(self, *labels: Any, **settings: Any) -> Job:
        return self.job


class Stack:
    url = "http://127.0.0.1:1"

    def __init__(self, settings: Any, logs: Path) -> None:
        self.folder = settings.data

    def start(self) -> None:
        DONE.append("start")

    def stop(self) -> None:
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        DONE.append("stop")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "zoo").mkdir()
    task = {"slug": "a", "title": "A", "story": "", "labelled": "a", "unlabelled": "b", "test": "c"}
    plan = {"teachers": [], "tasks": [{**task, "labels": ["x", "y"], "modality": "image"}]}
    (tmp_path / "zoo" / "demo.json").write_text(json.dumps(plan))
    monkeypatch.setattr(demo, "Stack", Stack)
    monkeypatch.setattr(demo, "Client", Client)
    monkeypatch.setattr("sys.argv", ["demo", "--folder", str(tmp_path)])
    monkeypatch.setenv("PRECEPTOR_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    before = signal.getsignal(signal.SIGTERM)
    DONE.clear()

    def main(event: Any) -> int:
        monkeypatch.setattr(Client, "job", Job(event), raising=False)
        return demo.main()

    yield main
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_cancels_the_job_and_stops_the_stack(
    run: Any, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    assert run(lambda: signal.raise_signal(number)) == 130
    assert DONE == ["start", "wait", "cancel", "close", "stop"]
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    written = capsys.readouterr()
    assert "Traceback" not in written.err
    assert "stopped" in written.err


def test_a_job_that_stands_still_is_an_error_in_words(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    job = JobSummary(id=new_id("rec"), kind="recommendation", status=JobStatus.RUNNING, created_at=now())

    def stuck() -> None:
        raise WaitTimeoutError(job, 600, idle=True)

    assert run(stuck) == 1
    assert DONE == ["start", "wait", "close", "stop"]
    assert "no progress for 600 s" in capsys.readouterr().err
