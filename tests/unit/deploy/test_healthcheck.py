"""The containers' health check against a real Redis and a real HTTP server."""

import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from pydantic import AliasChoices

from deploy import healthcheck
from service.core.lanes import LANES
from service.core.redis import keys
from service.core.redis.embedded import find_server
from service.core.settings import Settings


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as opened:
        yield opened


@pytest.mark.parametrize("lane", LANES)
def test_a_worker_that_showed_life_is_healthy(settings: Settings, client: redis.Redis, lane: str) -> None:
    client.zadd(keys.workers(lane), {"a1b2-c3-7": time.time()})
    assert healthcheck.worker_problem(settings.redis_url, settings.lease_seconds, "a1b2-c3") is None


def test_a_worker_silent_for_some_leases_is_not(settings: Settings, client: redis.Redis) -> None:
    client.zadd(keys.workers(LANES[0]), {"here-7": time.time() - 4 * settings.lease_seconds})
    problem = healthcheck.worker_problem(settings.redis_url, settings.lease_seconds, "here")
    assert problem is not None
    assert "no sign of life of here" in problem


def test_the_life_of_another_container_does_not_count(settings: Settings, client: redis.Redis) -> None:
    client.zadd(keys.workers(LANES[0]), {"here-too-7": time.time(), "there-7": time.time()})
    assert healthcheck.worker_problem(settings.redis_url, settings.lease_seconds, "here") is not None


def test_redis_away_is_told() -> None:
    problem = healthcheck.worker_problem("redis://127.0.0.1:1/0", 1.0, "here")
    assert problem is not None
    assert problem.startswith("Redis:")


class _Answer(http.server.BaseHTTPRequestHandler):
    status = 200
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (500, False)])
def test_a_service_is_healthy_where_it_answers_ok(status: int, healthy: bool) -> None:
    answer = type("Answer", (_Answer,), {"status": status, "asked": []})
    with http.server.HTTPServer(("127.0.0.1", 0), answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            problem = healthcheck.service_problem(server.server_port)
        finally:
            server.shutdown()
            thread.join()
    assert (problem is None) is healthy
    assert answer.asked == ["/health/live"]


def test_a_service_that_does_not_listen_is_unhealthy() -> None:
    assert healthcheck.service_problem(1) is not None


def test_a_listener_that_is_no_service_is_unhealthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close_at_once() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=close_at_once)
        thread.start()
        assert healthcheck.service_problem(listener.getsockname()[1]) is not None
        thread.join()


def test_names_and_defaults_are_those_of_the_service() -> None:
    assert tuple(keys.workers(lane) for lane in LANES) == healthcheck.WORKERS
    fields = Settings.model_fields
    assert (fields["port"].default, fields["lease_seconds"].default) == (healthcheck.PORT, healthcheck.LEASE_SECONDS)
    alias = fields["redis_url"].validation_alias
    assert isinstance(alias, AliasChoices)
    assert alias.choices == ["PRECEPTOR_REDIS_URL", "REDIS_URL"]


def test_it_needs_the_standard_library_alone(settings: Settings, client: redis.Redis) -> None:
    client.zadd(keys.workers(LANES[0]), {f"{socket.gethostname()}-7": time.time()})
    environment = {"REDIS_URL": str(settings.redis_url), "PRECEPTOR_LEASE_SECONDS": "60"}
    done = subprocess.run(
        # As in the image: no site packages, nothing of the environment's paths.
        [sys.executable, "-I", "-S", "-X", "importtime", healthcheck.__file__, "worker"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "ok\n")
    assert "ssl" not in done.stderr
    assert done.stderr.count("\n") < 80, "few modules"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Path]:
    """The socket of a server that asks for a user and a password."""
    path = tmp_path / "r.sock"
    command = [
        find_server(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path),
        "--user", "health", "on", ">p@ss:/word", "~*", "+@all", "--user", "default", "off",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        while not path.exists():
            assert server.poll() is None
            time.sleep(0.01)
        yield path
        server.terminate()


def test_user_password_and_database_of_the_url_are_used(guarded: Path) -> None:
    url = f"unix://health:{quote('p@ss:/word', safe='')}@{guarded}?db=3"
    with redis.Redis.from_url(url) as client:
        client.zadd(keys.workers(LANES[1]), {"here-7": time.time()})
    assert healthcheck.worker_problem(url, 10.0, "here") is None
    assert healthcheck.worker_problem(url.replace("db=3", "db=0"), 10.0, "here") is not None
    refused = healthcheck.worker_problem(f"unix://{guarded}", 10.0, "here")
    assert refused is not None
    assert "NOAUTH" in refused


def test_exit_status_and_reason(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PRECEPTOR_PORT", "1")
    assert healthcheck.main(["service"]) == 1
    assert "127.0.0.1:1/health/live" in capsys.readouterr().out
    assert healthcheck.main([]) == 1
    assert "usage" in capsys.readouterr().out
