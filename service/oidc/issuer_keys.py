"""The issuer's keys, fetched on demand with a limited rate.

A token may name an unknown key because the issuer has a new one, or because the token is invalid. The two cases cannot
be distinguished, so the keys are fetched again, at a rate that does not depend on the number of such tokens.
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
"""Time limit for both documents together."""

MIN_FETCH_INTERVAL_SECONDS: Final = 10.0
"""Minimum time between the starts of two fetches."""

REFRESH_SECONDS: Final = 600.0
"""Age after which keys are fetched again while the old ones stay in use; keys that the issuer removed end then."""

MAX_AGE_SECONDS: Final = 3600.0
"""Age up to which keys are used if they cannot be fetched again."""

_DISCOVERY: Final = "/.well-known/openid-configuration"


class IssuerKeys:
    """The keys of one issuer.

    Parameters
    ----------
    now
        A monotonic clock, in seconds.
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
        """Cancel a fetch in progress."""
        if self._fetch is not None:
            await ended(self._fetch)

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that a token names; None if the issuer has no such key.

        Raises
        ------
        IssuerUnavailable
            The issuer's keys are not available, so the token cannot be checked.
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
            "The token cannot be checked: the keys of its issuer are not available. Send the request again later, or "
            "use an API key. The service's log states the reason",
            headers={"Retry-After": str(int(MIN_FETCH_INTERVAL_SECONDS))},
        )

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch in progress, or a new one; None if the last one started too recently."""
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
            await asyncio.shield(task)  # Shared with other callers: a caller that disconnects must not cancel it.

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = await self._read()
        except (DocumentUnavailable, TimeoutError) as error:
            self._failure = str(error) or f"no answer within {FETCH_SECONDS:g} s"
            log.warning("the issuer's keys are not available", issuer=self._issuer, reason=self._failure)
        else:
            self._fetched_at = self._now()
            self._failure = None

    async def _read(self) -> KeySet:
        place = self._issuer.rstrip("/") + _DISCOVERY
        discovered = await self._documents.get(place)
        if discovered.get("issuer") != self._issuer:
            raise DocumentUnavailable(
                f"{place} is the document of the issuer {str(discovered.get('issuer'))[:200]!r}; "
                "PRECEPTOR_OIDC_ISSUER must have exactly this spelling"
            )
        address = discovered.get("jwks_uri")
        if not isinstance(address, str):
            raise DocumentUnavailable(f"{place} has no `jwks_uri`")
        try:
            return KeySet.of(await self._documents.get(address))
        except ValueError as error:
            raise DocumentUnavailable(f"the keys at {address[:200]} cannot be used: {error}") from error
