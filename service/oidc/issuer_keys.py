"""The issuer's keys, fetched when they are needed and no oftener than the issuer can bear.

A token may name a key that is not known: the issuer has made a new one, or the token is garbage. Both look the same,
so the keys are fetched again, but only so often, however many such tokens come.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from service.core.async_helpers import ended
from service.core.errors import IssuerUnavailable

from .fetch import Documents, DocumentUnavailable
from .jwt import Key, KeySet

log = structlog.stdlib.get_logger(__name__)

FETCH_SECONDS: Final = 5.0
"""For both documents together."""

MIN_FETCH_INTERVAL_SECONDS: Final = 10.0
"""Least time between the beginnings of two fetches."""

REFRESH_SECONDS: Final = 600.0
"""Keys are fetched again after so long, while the old ones go on: a key that the issuer has removed ends about then."""

MAX_AGE_SECONDS: Final = 3600.0
"""Keys that could not be fetched again are good for so long."""

_DISCOVERY: Final = "/.well-known/openid-configuration"


class IssuerKeys:
    """The keys of one issuer.

    Parameters
    ----------
    now
        A monotonic clock, seconds.
    """

    def __init__(self, issuer: str, documents: Documents, now: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._documents = documents
        self._now = now
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._asked_at: float | None = None
        self._failure: str | None = None
        self._fetch: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """End a fetch that is under way."""
        if self._fetch is not None:
            await ended(self._fetch)

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that a token names; None where the issuer has no such key.

        Raises
        ------
        IssuerUnavailable
            The issuer's keys cannot be had, so nothing can be said of the token.
        """
        keys = self._usable()
        if keys is None:
            await self._fetched()
            keys = self._usable()
            if keys is None:
                raise self._unavailable()
        elif self._now() - self._fetched_at > REFRESH_SECONDS:
            self._begin()
        found = keys.find(kid, algorithm)
        if found is None:
            await self._fetched()
            found = (self._usable() or keys).find(kid, algorithm)
            if found is None and self._failure is not None:
                raise self._unavailable()
        return found

    def _usable(self) -> KeySet | None:
        return self._keys if self._now() - self._fetched_at <= MAX_AGE_SECONDS else None

    def _unavailable(self) -> IssuerUnavailable:
        log.debug("token not checked", issuer=self._issuer, reason=self._failure)
        return IssuerUnavailable(
            "The token cannot be checked: its issuer does not give its keys. Send the request again later. API keys "
            "work. The service's log has the reason",
            headers={"Retry-After": str(int(MIN_FETCH_INTERVAL_SECONDS))},
        )

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or a new one; None where the last one began too short a time ago."""
        if self._fetch is not None and not self._fetch.done():
            return self._fetch
        if self._asked_at is not None and self._now() - self._asked_at < MIN_FETCH_INTERVAL_SECONDS:
            return None
        self._asked_at = self._now()
        self._fetch = asyncio.create_task(self._refresh(), name="issuer keys")
        return self._fetch

    async def _fetched(self) -> None:
        task = self._begin()
        if task is not None:
            await asyncio.shield(task)  # Others wait for it too: a caller who goes away must not end it.

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = await self._read()
        except (DocumentUnavailable, TimeoutError) as error:
            self._failure = str(error) or f"no answer within {FETCH_SECONDS:g} s"
            log.warning("the issuer's keys cannot be had", issuer=self._issuer, reason=self._failure)
        else:
            self._fetched_at = self._now()
            self._failure = None

    async def _read(self) -> KeySet:
        place = self._issuer.rstrip("/") + _DISCOVERY
        discovered = await self._documents.get(place)
        if discovered.get("issuer") != self._issuer:
            raise DocumentUnavailable(
                f"{place} is the document of the issuer {str(discovered.get('issuer'))[:200]!r}; "
                "PRECEPTOR_OIDC_ISSUER must be spelled exactly like it"
            )
        address = discovered.get("jwks_uri")
        if not isinstance(address, str):
            raise DocumentUnavailable(f"{place} has no `jwks_uri`")
        try:
            return KeySet.of(await self._documents.get(address))
        except ValueError as error:
            raise DocumentUnavailable(f"the keys at {address[:200]} cannot be used: {error}") from error
