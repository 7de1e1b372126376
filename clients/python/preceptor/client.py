"""`preceptor.Client`"""

import time
from collections.abc import Awaitable, Callable
from typing import Self

import anyio
import httpx2

from .contract.audit import Audit
from .contract.health import Health, Version
from .core.routes import audit, health
from .core.settings import ApiKey, Settings
from .resources.jobs import AsyncJobs, Jobs
from .resources.students import AsyncStudents, Students
from .resources.submissions import (
    AsyncDistillations,
    AsyncLabelSets,
    AsyncProbes,
    AsyncRecommendations,
    Distillations,
    LabelSets,
    Probes,
    Recommendations,
)
from .resources.teachers import AsyncTeachers, Teachers
from .resources.webhooks import AsyncWebhooks, Webhooks
from .transport.async_driver import AsyncDriver
from .transport.httpx_options import client_options
from .transport.sync_driver import Driver


class Client:
    """A blocking client of one Preceptor service. Safe to share between threads; close it, or use `with`.

    Parameters
    ----------
    base_url
        Default: `PRECEPTOR_URL`, else http://127.0.0.1:8321.
    api_key
        An API key or a token, sent as `Authorization: Bearer`. Default: `PRECEPTOR_API_KEY`, else none. Or a function
        without arguments that gives it: asked before each attempt, so it should remember a token while that is good.
    timeout
        Seconds to wait for a connection, or for the next bytes of an answer.
    max_retries
        Further attempts after a broken connection or a 429, 502, 503, 504, with growing pauses and honouring
        Retry-After. Every POST and PUT carries an Idempotency-Key, so nothing is done twice.
    http_client
        A prepared httpx2.Client (own certificates, proxies); the caller closes it.
    sleep, now
        The pause between attempts and the monotonic clock, replaceable for tests.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: ApiKey | None = None,
        timeout: float = 30.0,
        max_retries: int = 4,
        *,
        http_client: httpx2.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = Settings.build(base_url, api_key, timeout, max_retries, now)
        self._owned = http_client is None
        self._http = http_client or httpx2.Client(**client_options(settings))
        self._driver = Driver(settings, self._http, sleep)
        self.label_sets = LabelSets(self._driver)
        self.teachers = Teachers(self._driver)
        self.probes = Probes(self._driver)
        self.recommendations = Recommendations(self._driver)
        self.distillations = Distillations(self._driver)
        self.jobs = Jobs(self._driver)
        self.students = Students(self._driver)
        self.webhooks = Webhooks(self._driver)

    @property
    def base_url(self) -> str:
        """The address of the service."""
        return self._driver.settings.base_url

    def health(self) -> Health:
        """Whether the service can do its work; also an answer where it cannot."""
        return self._driver.send(health.ready())

    def audit(self) -> Audit:
        """How well the rankings foresaw what distilling gained, on this service's own distillations."""
        return self._driver.send(audit.get())

    def version(self) -> Version:
        """Versions of the service."""
        return self._driver.send(health.version())

    def metrics(self) -> str:
        """The deployment's numbers, in Prometheus' text format."""
        return self._driver.send(health.metrics())

    def close(self) -> None:
        """Close the connections."""
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncClient:
    """An asynchronous client of one Preceptor service. Safe to share between tasks; close it, or use `async with`.

    Parameters
    ----------
    base_url
        Default: `PRECEPTOR_URL`, else http://127.0.0.1:8321.
    api_key
        An API key or a token, sent as `Authorization: Bearer`. Default: `PRECEPTOR_API_KEY`, else none. Or a function
        without arguments that gives it: asked before each attempt, so it should remember a token while that is good.
    timeout
        Seconds to wait for a connection, or for the next bytes of an answer.
    max_retries
        Further attempts after a broken connection or a 429, 502, 503, 504, with growing pauses and honouring
        Retry-After. Every POST and PUT carries an Idempotency-Key, so nothing is done twice.
    http_client
        A prepared httpx2.AsyncClient (own certificates, proxies); the caller closes it.
    sleep, now
        The pause between attempts and the monotonic clock, replaceable for tests.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: ApiKey | None = None,
        timeout: float = 30.0,
        max_retries: int = 4,
        *,
        http_client: httpx2.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = Settings.build(base_url, api_key, timeout, max_retries, now)
        self._owned = http_client is None
        self._http = http_client or httpx2.AsyncClient(**client_options(settings))
        self._driver = AsyncDriver(settings, self._http, sleep)
        self.label_sets = AsyncLabelSets(self._driver)
        self.teachers = AsyncTeachers(self._driver)
        self.probes = AsyncProbes(self._driver)
        self.recommendations = AsyncRecommendations(self._driver)
        self.distillations = AsyncDistillations(self._driver)
        self.jobs = AsyncJobs(self._driver)
        self.students = AsyncStudents(self._driver)
        self.webhooks = AsyncWebhooks(self._driver)

    @property
    def base_url(self) -> str:
        """The address of the service."""
        return self._driver.settings.base_url

    async def health(self) -> Health:
        """Whether the service can do its work; also an answer where it cannot."""
        return await self._driver.send(health.ready())

    async def audit(self) -> Audit:
        """How well the rankings foresaw what distilling gained, on this service's own distillations."""
        return await self._driver.send(audit.get())

    async def version(self) -> Version:
        """Versions of the service."""
        return await self._driver.send(health.version())

    async def metrics(self) -> str:
        """The deployment's numbers, in Prometheus' text format."""
        return await self._driver.send(health.metrics())

    async def close(self) -> None:
        """Close the connections."""
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
