"""A real service on a real socket, without workers."""

import threading
from collections.abc import Iterator

import httpx2
import pytest
import uvicorn

from service.app import create_app
from service.state.settings import Settings


class Served(uvicorn.Server):
    """A server in a thread; signals stay with the test runner."""

    def install_signal_handlers(self) -> None:
        pass


@pytest.fixture
def base_url(settings: Settings) -> Iterator[str]:
    """Address of a running service."""
    server = Served(uvicorn.Config(create_app(settings), port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def http(base_url: str) -> Iterator[httpx2.Client]:
    """A plain HTTP client: the API is tested as it is on the wire."""
    with httpx2.Client(base_url=base_url, timeout=20) as client:
        yield client
