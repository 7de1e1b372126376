"""`preceptor doctor` before deployments that lack something."""

import json
import socket
import time
from typing import Any

import pytest
from redis._parsers.base import BaseParser
from typer.testing import CliRunner

from preceptor import AsyncClient, Client
from preceptor.cli import app
from preceptor.cli.doctor_checks import Examination, Finding, Reach, reach_of
from preceptor.contract.health import Check, Health
from preceptor.contract.jobs import JobStatus
from service.core.errors import StateUnavailable
from service.core.redis.client import translated
from service.core.storage.object_store import translated as store_translated

from .small_state import Fault, SmallService


@pytest.fixture
def cli(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PRECEPTOR_URL", url)
    return lambda *arguments: CliRunner().invoke(app, ["doctor", *arguments])


def examined(client: Client, **options: Any) -> dict[str, Finding]:
    return {finding.subject: finding for finding in Examination(client, **options).findings()}


def lane(name: str, oldest: float) -> str:
    return (
        f'preceptor_lane_waiting_jobs{{lane="{name}"}} 3.0\npreceptor_lane_oldest_seconds{{lane="{name}"}} {oldest}\n'
    )


def test_a_sound_deployment_needs_nothing(cli: Any, service: SmallService) -> None:
    service.metrics = lane("recommend", 2.0) + lane("distill", 900.0)
    result = cli()
    assert result.exit_code == 0, result.output
    assert "Nothing must be fixed." in result.stdout
    found = json.loads(cli("--json").stdout)
    verdicts = {finding["subject"]: finding["verdict"] for finding in found["findings"]}
    assert found["ok"] is True
    assert set(verdicts.values()) == {"ok"}
    assert {"address", "encryption", "clock", "keys", "version", "redis", "queue:recommend", "round trip"} <= set(
        verdicts
    )
    assert len(service.requests("POST", "/v1/recommendations")) == 2
    assert cli("--no-round-trip").exit_code == 0
    assert len(service.requests("POST", "/v1/recommendations")) == 2


def test_nothing_there_is_one_finding_with_advice(cli: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    result = cli("--url", url)
    assert result.exit_code == 1
    assert result.stdout.startswith("fix     address")
    assert "make up" in result.stdout
    assert "To fix: 1" in result.stdout


def test_another_program_and_a_redirect_are_not_taken_for_the_service(client: Client, service: SmallService) -> None:
    service.fail("GET", "/health/live", Fault(502, problem=False))
    assert examined(client)["address"].verdict == "fix"
    service.fail("GET", "/health/live", Fault(308, {"Location": "https://there.example/"}, problem=False))
    assert "https://there.example/" in examined(client)["address"].seen


def test_missing_workers_are_named_and_no_job_is_sent(cli: Any, service: SmallService) -> None:
    service.workers = False
    result = cli()
    assert result.exit_code == 1
    assert "worker:recommend" in result.stdout
    assert "preceptornoworker" in result.stdout
    assert not service.requests("POST", "/v1/recommendations")


def test_workers_of_another_version_are_named(client: Client, service: SmallService) -> None:
    told = 'preceptor_worker_info{{contract="2",lane="{}",version="{}",worker="a-1"}} 1.0\n'
    service.metrics = lane("recommend", 2.0) + told.format("recommend", "0.1.0") + told.format("distill", "0.0.9")
    found = examined(client)["workers"]
    assert found.verdict == "note"
    assert "distill runs 0.0.9" in found.seen
    assert "recommend" not in found.seen
    service.metrics = lane("recommend", 2.0) + told.format("recommend", "0.1.0")
    assert "workers" not in examined(client)


@pytest.mark.parametrize(("name", "oldest"), [("recommend", 61.0), ("distill", 3601.0)])
def test_an_old_queue_asks_for_workers(client: Client, service: SmallService, name: str, oldest: float) -> None:
    service.metrics = lane("recommend", 60.0).replace("60.0", str(oldest) if name == "recommend" else "60.0")
    service.metrics += lane("distill", oldest if name == "distill" else 3600.0)
    found = examined(client)
    assert {subject for subject, finding in found.items() if finding.verdict == "fix"} == {f"queue:{name}"}
    assert f"--lane {name}" in found[f"queue:{name}"].advice


@pytest.mark.parametrize(
    ("reach", "verdict"), [("this machine", "ok"), ("a private network", "note"), ("the internet", "fix")]
)
def test_openness_weighs_as_much_as_the_reach(client: Client, reach: Reach, verdict: str) -> None:
    found = examined(client, reach=lambda host: reach)
    assert found["encryption"].verdict == verdict
    assert found["keys"].verdict == verdict


def test_a_service_that_asks_for_keys(client: Client, service: SmallService) -> None:
    service.fail("GET", "/v1/jobs", Fault(401))
    found = examined(client, reach=lambda host: "the internet")
    assert found["keys"].verdict == "ok"
    assert "authorization" not in service.requests("GET", "/v1/jobs")[0].headers
    service.fail("GET", "/version", Fault(401))
    refused = examined(client)
    assert refused["your key"].verdict == "fix"
    assert "round trip" not in refused


def test_the_key_of_the_environment_is_not_shown_to_the_question_without_one(
    url: str, service: SmallService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRECEPTOR_API_KEY", "secret")
    with Client(url) as client:
        examined(client)
    assert "authorization" not in service.requests("GET", "/v1/jobs")[0].headers
    assert "authorization" not in service.requests("GET", "/health/live")[0].headers
    assert service.requests("GET", "/version")[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(("ahead", "verdict"), [(0.0, "ok"), (-60.0, "note"), (90.0, "note"), (-400.0, "fix")])
def test_clocks_that_disagree(client: Client, ahead: float, verdict: str) -> None:
    finding = examined(client, wall=lambda: time.time() - ahead)["clock"]
    assert finding.verdict == verdict
    if ahead:
        assert ("ahead of" if ahead > 0 else "behind") in finding.seen


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("MISCONF Errors writing to the AOF file: No space left on device", "Free or add space on the disk of Redis"),
        ("MISCONF Errors writing to the AOF file: Permission denied", "make its folder writable"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "Raise its maxmemory"),
        ("READONLY You can't write against a read only replica.", "Set REDIS_URL to the primary"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "Correct the user and the password"),
        (None, "Start Redis"),
    ],
)
def test_a_redis_that_answers_need_not_be_started(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: str | None, advice: str
) -> None:
    class Refusing(BaseParser):
        """Turns what a server says into errors as the library does."""

    with pytest.raises(StateUnavailable) as found, translated():
        raise ConnectionRefusedError if error is None else Refusing.parse_error(error)
    health = Health(status="failing", checks={"redis": Check(status="failing", detail=found.value.detail)})
    monkeypatch.setattr(client, "health", lambda: health)
    finding = examined(client)["redis"]
    assert finding.verdict == "fix"
    assert advice in finding.advice
    assert ("Start Redis" in finding.advice) == (error is None)


def test_a_full_disk_comes_before_the_redis_on_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {
        "redis": Check(status="failing", detail="Redis does not answer"),
        "store": Check(status="failing", detail=store_translated(OSError(28, "No space left on device")).detail),
    }
    monkeypatch.setattr(client, "health", lambda: Health(status="failing", checks=checks))
    found = examined(client)
    assert "Make room for the store first" in found["redis"].advice
    assert "Make room" in found["store"].advice


def test_a_job_that_fails_or_never_ends_is_to_be_fixed(
    client: Client, service: SmallService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.failing = True
    failed = examined(client)["round trip"]
    assert failed.verdict == "fix"
    assert "No teacher could be loaded" in failed.seen
    service.failing, service.finished = False, False
    monkeypatch.setattr("preceptor.cli.doctor_checks._ROUND_TRIP", 0.2)
    endless = examined(client)["round trip"]
    assert endless.verdict == "fix"
    assert "it was canceled" in endless.seen
    assert list(service.jobs.values())[-1].status == JobStatus.CANCELED


def test_another_version_is_to_be_fixed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preceptor.cli.doctor_checks.installed", lambda name: "0.1.7")
    assert examined(client)["version"].verdict == "ok"
    monkeypatch.setattr("preceptor.cli.doctor_checks.installed", lambda name: "0.3.0")
    finding = examined(client)["version"]
    assert (finding.verdict, finding.seen) == ("fix", "client 0.3.0, service 0.1.0")


def test_reach_is_judged_by_addresses() -> None:
    assert reach_of("localhost") == "this machine"
    assert reach_of("::1") == "this machine"
    assert reach_of("10.1.2.3") == "a private network"
    assert reach_of("8.8.8.8") == "the internet"


@pytest.mark.anyio
async def test_both_clients_read_the_metrics(client: Client, async_client: AsyncClient, service: SmallService) -> None:
    service.metrics = lane("recommend", 2.0)
    assert client.metrics() == service.metrics
    assert await async_client.metrics() == service.metrics
