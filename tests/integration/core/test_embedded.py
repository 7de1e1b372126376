"""The embedded server: reattached while it lives, and it loses nothing when it is killed."""

import os
import signal
from pathlib import Path

import pytest
import redis

from service.core.errors import StateUnavailable
from service.core.redis.embedded import EmbeddedRedis


@pytest.fixture
def server(tmp_path: Path):
    embedded = EmbeddedRedis(tmp_path / "redis")
    yield embedded
    embedded.stop()


def test_it_is_reattached_and_survives_a_kill(server: EmbeddedRedis) -> None:
    url = server.ensure()
    with redis.Redis.from_url(url, decode_responses=True) as client:
        client.set("kept", "yes")
    first = server.pid()
    assert first is not None
    assert EmbeddedRedis(server.folder).ensure() == url
    assert server.pid() == first
    os.kill(first, signal.SIGKILL)
    while server.alive():
        pass
    server.ensure()
    assert server.pid() != first
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert client.get("kept") == "yes"


def test_a_deep_folder_gets_a_short_socket(tmp_path: Path) -> None:
    deep = EmbeddedRedis(tmp_path / ("d" * 120))
    try:
        deep.ensure()
        assert deep.alive()
        assert len(str(deep.socket)) < 108
    finally:
        deep.stop()


def test_a_server_that_is_stopped_is_waited_for_and_not_doubled(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers on one append-only file would destroy it."""
    server.ensure()
    first = server.pid()
    assert first is not None
    monkeypatch.setattr("service.core.redis.embedded._START_SECONDS", 0.2)
    os.kill(first, signal.SIGSTOP)
    try:
        assert not server.gone()
        with pytest.raises(StateUnavailable, match="does not answer"):
            server.ensure()
    finally:
        os.kill(first, signal.SIGCONT)
    server.ensure()
    assert server.pid() == first


@pytest.mark.parametrize("kills", [1, 3])
def test_one_that_is_killed_while_it_starts_is_started_again(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    start = server._start
    killed: list[int] = []

    def killed_at_once() -> None:
        start()
        pid = server.pid()
        assert pid is not None
        if len(killed) < kills:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            while not server.gone():
                pass

    monkeypatch.setattr(server, "_start", killed_at_once)
    if kills == 3:
        with pytest.raises(StateUnavailable, match="did not start"):
            server.ensure()
    server.ensure()
    assert server.alive()
    assert server.pid() not in killed
    assert len(set(killed)) == kills
