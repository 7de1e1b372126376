"""The containers' health check against a real Redis and a real HTTP server."""

import http.server
import threading
import time
from collections.abc import Iterator

import pytest
import redis

from deploy import healthcheck
from service.core.lanes import LANES
from service.core.redis import keys
from service.core.settings import Settings


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as opened:
        yield opened


@pytest.mark.parametrize("lane", LANES)
def test_a_worker_that_showed_life_is_healthy(settings: Settings, client: redis.Redis, lane: str) -> None:
    client.zadd(keys.workers(lane), {"a1b2-c3-7": time.time()})
    assert healthcheck.worker_problem(settings, "a1b2-c3") is None


def test_a_worker_silent_for_some_leases_is_not(settings: Settings, client: redis.Redis) -> None:
    client.zadd(keys.workers(LANES[0]), {"here-7": time.time() - 4 * settings.lease_seconds})
    problem = healthcheck.worker_problem(settings, "here")
    assert problem is not None
    assert "no heartbeat from here" in problem


def test_the_life_of_another_container_does_not_count(settings: Settings, client: redis.Redis) -> None:
    client.zadd(keys.workers(LANES[0]), {"here-too-7": time.time(), "there-7": time.time()})
    assert healthcheck.worker_problem(settings, "here") is not None


def test_redis_away_is_told(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    problem = healthcheck.worker_problem(away, "here")
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
def test_a_service_is_healthy_where_it_answers_ok(settings: Settings, status: int, healthy: bool) -> None:
    answer = type("Answer", (_Answer,), {"status": status, "asked": []})
    with http.server.HTTPServer(("127.0.0.1", 0), answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            problem = healthcheck.service_problem(settings.model_copy(update={"port": server.server_port}))
        finally:
            server.shutdown()
            thread.join()
    assert (problem is None) is healthy
    assert answer.asked == ["/health/live"]


def test_a_service_that_does_not_listen_is_unhealthy(settings: Settings) -> None:
    assert healthcheck.service_problem(settings.model_copy(update={"port": 1})) is not None


def test_exit_status_and_reason(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PRECEPTOR_PORT", "1")
    assert healthcheck.main(["service"]) == 1
    assert "127.0.0.1:1/health/live" in capsys.readouterr().out
    assert healthcheck.main([]) == 1
    assert "usage" in capsys.readouterr().out
