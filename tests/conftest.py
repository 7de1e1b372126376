"""Fixtures that all tests share: a real Redis-compatible server, a real store."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from service.core.redis.embedded import EmbeddedRedis
from service.core.settings import Settings
from service.core.state import State


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file, and all that share the whole stack, in one process when several run (`make test`)."""
    for item in items:
        file = item.path.relative_to(item.config.rootpath)
        item.add_marker(pytest.mark.xdist_group("stack" if file.is_relative_to("tests/e2e") else str(file)))


@pytest.fixture(scope="session", autouse=True)
def _no_outer_configuration() -> Iterator[None]:
    """Tests must not see the caller's configuration, least of all a real REDIS_URL."""
    import os

    patch = pytest.MonkeyPatch()
    for name in list(os.environ):
        if name == "REDIS_URL" or name.startswith("PRECEPTOR_"):
            patch.delenv(name)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """One embedded server for the whole session."""
    folder = Path(tempfile.mkdtemp(prefix="preceptor-redis-"))
    server = EmbeddedRedis(folder)
    server.ensure()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The URL of an empty server."""
    redis_server.ensure()
    with redis.Redis(unix_socket_path=str(redis_server.socket)) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """Settings of an empty deployment."""
    return Settings(data=tmp_path / "data", redis_url=redis_url, lease_seconds=1.0)


@pytest.fixture
async def state(settings: Settings) -> AsyncIterator[State]:
    """An empty, open state."""
    async with State(settings) as opened:
        await opened.ensure_index()
        yield opened
