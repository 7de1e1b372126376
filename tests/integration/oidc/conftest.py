"""A real service that takes the tokens of a real issuer."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.core.settings import Settings
from tests.integration.api.serving import serve

from .issuer import AUDIENCE, Issuer, issuing


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, issuer: Issuer) -> Settings:
    return Settings(
        data=tmp_path / "data", redis_url=redis_url, oidc_issuer=issuer.url, oidc_audience=AUDIENCE,
        oidc_leeway_seconds=5,
    )  # fmt: skip


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def base_url(app: FastAPI) -> Iterator[str]:
    with serve(app) as url:
        yield url


@pytest.fixture
def http(base_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=base_url, timeout=20) as client:
        yield client
