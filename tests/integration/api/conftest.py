"""A real service on a real socket, without workers."""

from collections.abc import Iterator

import httpx2
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.core.settings import Settings

from .seeds import Seeds, plant
from .serving import serve


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """The application that is served."""
    return create_app(settings)


@pytest.fixture
def base_url(app: FastAPI) -> Iterator[str]:
    """Address of a running service."""
    with serve(app) as url:
        yield url


@pytest.fixture
def http(base_url: str) -> Iterator[httpx2.Client]:
    """A plain HTTP client: the API is tested as it is on the wire."""
    with httpx2.Client(base_url=base_url, timeout=20) as client:
        yield client


@pytest.fixture
def seeds(settings: Settings, base_url: str) -> Seeds:
    """One resource of each kind, as workers would have left them."""
    return plant(settings)
