"""Where the service is and how patient the client is."""

import os
import platform
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

from ..errors import PreceptorError

DEFAULT_URL: Final = "http://127.0.0.1:8321"
ApiKey = str | Callable[[], str]
"""An API key or a token, or what gives one that is good now."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What both clients are made of.

    Attributes
    ----------
    api_key
        What every request carries; a function is asked before each attempt.
    timeout
        Seconds to wait for a connection, or for the next bytes.
    max_retries
        Further attempts after the first one failed.
    patience
        Seconds of outage that waiting for a job, or reading its events, lives through.
    now, chance
        A monotonic clock (seconds) and a source of numbers in 0..1, replaceable for tests.
    """

    base_url: str
    api_key: ApiKey | None
    timeout: float = 30.0
    max_retries: int = 4
    patience: float = 120.0
    now: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random

    @classmethod
    def build(
        cls,
        base_url: str | None,
        api_key: ApiKey | None,
        timeout: float,
        max_retries: int,
        now: Callable[[], float] = time.monotonic,
    ) -> "Settings":
        """Settings from arguments, then from `PRECEPTOR_URL` and `PRECEPTOR_API_KEY`."""
        url = (base_url or os.environ.get("PRECEPTOR_URL") or DEFAULT_URL).rstrip("/")
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018  Reading it checks it.
        except ValueError as error:
            raise PreceptorError(f"{url!r} is not an address: {error}; it looks like {DEFAULT_URL}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise PreceptorError(f"{url!r} is not the address of a service; it looks like {DEFAULT_URL}")
        key = api_key or os.environ.get("PRECEPTOR_API_KEY") or None
        if isinstance(key, str):
            _check(key)
        if timeout <= 0 or max_retries < 0:
            raise PreceptorError("timeout must be positive and max_retries must not be negative")
        return cls(base_url=url, api_key=key, timeout=timeout, max_retries=max_retries, now=now)

    @property
    def loopback(self) -> bool:
        """Whether the service is on this machine; a proxy from the environment is then wrong."""
        return urlsplit(self.base_url).hostname in _LOOPBACK

    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        headers = {
            "Accept": "application/json",
            "User-Agent": f"preceptor-python/{version('preceptor')} Python/{platform.python_version()}",
        }
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self._present_key(self.api_key)}"
        return headers

    @staticmethod
    def _present_key(given: ApiKey) -> str:
        if isinstance(given, str):
            return given
        key = given()
        if not key:
            raise PreceptorError("the function that was given as api_key gave no key")
        _check(key)
        return key


def _check(key: str) -> None:
    if not (key.isascii() and key.isprintable()):
        raise PreceptorError("the API key holds characters that cannot stand in a header; was it cut or quoted?")
