"""What /health/ready and /metrics say of a Redis that answers, and of one that does not do its work."""

import asyncio
from typing import Any

import httpx2
import pytest
import redis
import structlog

from preceptor.contract.health import Check
from service.core.errors import StateUnavailable
from service.core.observability import failure_log
from service.core.redis import keys
from service.core.redis.server_info import check_writable
from service.core.settings import Settings
from service.core.state import State
from service.readiness import Readiness


@pytest.fixture
def server(redis_server: Any) -> Any:
    with redis.Redis(unix_socket_path=str(redis_server.socket)) as client:
        yield client


def gauges(http: httpx2.Client) -> dict[str, float]:
    lines = http.get("/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[:1] != "#"}


def checks_of(http: httpx2.Client) -> dict[str, Any]:
    return http.get("/health/ready").json()["checks"]


def test_a_full_redis_is_named_and_workers_are_not_blamed(http: httpx2.Client, server: Any) -> None:
    server.config_set("maxmemory", "1mb")
    try:
        checks = checks_of(http)
        found = gauges(http)
    finally:
        server.config_set("maxmemory", "0")
    assert "out of memory" in checks["redis"]["detail"]
    assert not [name for name in checks if name.startswith("worker")]
    assert found["preceptor_redis_up"] == 1
    assert found["preceptor_redis_writable"] == 0
    assert found["preceptor_redis_memory_bytes"] > found["preceptor_redis_maxmemory_bytes"] == 2**20


def test_an_index_that_is_being_rebuilt_is_named(http: httpx2.Client, server: Any) -> None:
    http.get("/v1/teachers")
    server.set(keys.REBUILD_LOCK, "another process", ex=60)
    server.delete(keys.MARKER)
    try:
        assert "rebuilt" in checks_of(http)["index"]["detail"]
        assert gauges(http)["preceptor_index_whole"] == 0
    finally:
        server.delete(keys.REBUILD_LOCK)


def test_settings_that_lose_work_are_advised_against(http: httpx2.Client, server: Any) -> None:
    assert checks_of(http)["redis"]["advice"] == ""
    try:
        server.config_set("maxmemory-policy", "allkeys-lru")
        server.config_set("appendonly", "no")
        advice = checks_of(http)["redis"]["advice"]
    finally:
        server.config_set("maxmemory-policy", "volatile-lru")
        server.config_set("appendonly", "yes")
    assert "evicts jobs" in advice
    assert "appendonly" in advice


@pytest.mark.anyio
async def test_many_who_ask_at_once_cost_one_look(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        looks = 0
        check = state.store.check

        async def counted() -> None:
            nonlocal looks
            looks += 1
            await check()

        monkeypatch.setattr(state.store, "check", counted)
        readiness = Readiness(state)
        answers = await asyncio.gather(*(readiness.checks() for _ in range(50)))
        answers.append(await readiness.checks())
        assert looks == 1
        assert all(each["store"] == Check(status="ok") for each in answers)


@pytest.mark.anyio
async def test_a_check_that_hangs_is_told_in_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with State(settings) as state:

        async def hangs() -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(state.store, "check", hangs)
        monkeypatch.setattr("service.readiness._PATIENCE", 0.05)
        assert "has not answered" in (await Readiness(state).checks())["store"].detail


@pytest.mark.anyio
async def test_callers_are_told_what_redis_refuses_and_the_log_why(
    settings: Settings, redis_server: Any, server: Any
) -> None:
    server.execute_command("ACL", "SETUSER", "reader", "on", ">word", "~*", "&*", "+@all", "-set")
    url = f"unix://reader:word@{redis_server.socket}"
    failure_log._logged_at.clear()
    async with State(settings.model_copy(update={"redis_url": url})) as state:
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(StateUnavailable, match="permissions are not sufficient"):
                    await check_writable(state.client)
    told = [line["cause"] for line in logs if line["event"] == "cause of a failure"]
    assert len(told) == 1
    assert "NoPermissionError" in told[0]
    assert "word" not in told[0]


def test_signatures_of_addresses_are_not_logged() -> None:
    failure_log._logged_at.clear()
    with structlog.testing.capture_logs() as logs:
        failure_log.log_cause("the store", OSError("PUT https://a.example/b?sig=SECRET failed\nmore"))
    assert logs[0]["cause"] == "OSError: PUT https://a.example/b?... failed"
