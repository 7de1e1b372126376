"""The whole stack as separate processes, one for all end-to-end tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from preceptor import Client
from service.cli.dev_stack import Stack
from service.core.settings import Settings


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Embedded Redis, the service, a worker on each lane."""
    folder = Path(tempfile.mkdtemp(prefix="preceptor-e2e-"))
    settings = Settings(data=folder, port=0, redis_url=None, threads=1)
    with Stack(settings, logs=folder / "logs") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    """The SDK, connected."""
    with Client(stack.url) as connected:
        yield connected
