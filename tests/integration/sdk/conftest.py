"""A small service on a real socket, and clients of it that never really sleep."""

import hashlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
import uvicorn

from preceptor import AsyncClient, Client
from preceptor.contract import ids
from preceptor.contract.distillations import Student
from preceptor.contract.teachers import StoredFile

from .small_routes import create_app
from .small_state import Fault, SmallService


class _Running:
    """A server thread."""

    def __init__(self) -> None:
        self.service = SmallService()
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(
            create_app(lambda: self.service), log_config=None, lifespan="off", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)


@pytest.fixture(scope="session")
def running() -> Iterator[_Running]:
    made = _Running()
    made.thread.start()
    yield made
    made.server.should_exit = made.server.force_exit = True
    made.thread.join(10)
    made.socket.close()


@pytest.fixture
def service(running: _Running, monkeypatch: pytest.MonkeyPatch) -> SmallService:
    """A fresh state behind the running server."""
    for name in ("PRECEPTOR_URL", "PRECEPTOR_API_KEY", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    running.service = SmallService()
    return running.service


@pytest.fixture
def url(running: _Running, service: SmallService) -> str:
    return running.url


@pytest.fixture
def naps() -> list[float]:
    """The pauses that a client took; none of them was really slept."""
    return []


@pytest.fixture
def client(url: str, naps: list[float]) -> Iterator[Client]:
    with Client(url, sleep=naps.append) as made:
        yield made


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def async_client(url: str, naps: list[float]) -> AsyncIterator[AsyncClient]:
    async def nap(seconds: float) -> None:
        naps.append(seconds)

    async with AsyncClient(url, sleep=nap) as made:
        yield made


@pytest.fixture
def fault() -> type[Fault]:
    return Fault


@pytest.fixture
def student(service: SmallService) -> Student:
    """A student with two artifacts; the larger needs many chunks."""
    service.artifacts = {
        "model.safetensors": bytes(range(256)) * 1000,
        "config.json": b'{"id2label": {"0": "cat"}}',
    }
    files = [
        StoredFile(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in service.artifacts.items()
    ]
    made = Student(
        id=ids.new_id("stu"),
        distillation=ids.new_id("dst"),
        name="small",
        labels=["cat", "dog"],
        artifacts=files,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    service.students[made.id] = made
    return made
