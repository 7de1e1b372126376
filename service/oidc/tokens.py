"""Callers identified by a token: verified with the issuer's keys, identified by issuer and subject.

Own code around PyJWT: it verifies signatures, but does not fetch keys under the egress rules, bound their number and
age, or serve tokens while the issuer is unreachable.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final, Self

import structlog
from cachetools import LRUCache

from service.core.api_keys import SCOPES, Caller, Scope
from service.core.errors import Unauthenticated
from service.core.settings import Settings, listed
from service.network.egress import Egress

from .fetch import Documents
from .issuer_keys import IssuerKeys
from .jwt import BadToken, unverified_header, verified_claims
from .scopes import Grants

log = structlog.stdlib.get_logger(__name__)
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="preceptor", error="invalid_token"'}
_LONGEST_SUBJECT: Final = 255  # OpenID Connect Core 1.0, 2
_REMEMBERED: Final = 4096


@dataclass(frozen=True)
class Bearer:
    """A caller with a token, and the granted scope; None grants nothing."""

    caller: Caller
    scope: Scope | None

    def allows(self, scope: Scope) -> bool:
        """Whether the token grants this scope."""
        return self.scope is not None and SCOPES.index(self.scope) >= SCOPES.index(scope)


class Tokens:
    """Tokens of the configured issuer. Nothing about a token is cached: each request verifies it."""

    def __init__(self, settings: Settings, documents: Documents | None = None) -> None:
        assert settings.oidc_issuer is not None
        self._issuer = settings.oidc_issuer
        self._audiences = listed(settings.oidc_audience)
        self._leeway = settings.oidc_leeway_seconds
        self._max_jobs = settings.oidc_max_jobs
        self._grants = Grants.of(settings)
        self._documents = documents or Documents(self._issuer, Egress.of(settings.egress_allow))
        self.keys = IssuerKeys(self._issuer, self._documents)
        self._seen: LRUCache[str, bool] = LRUCache(_REMEMBERED)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.keys.aclose()
        await self._documents.__aexit__()

    async def bearer(self, text: str) -> Bearer:
        """The caller who sends a token.

        Raises
        ------
        Unauthenticated
            The token does not grant access.
        IssuerUnavailable
            The token cannot be checked at the moment.
        """
        try:
            kid, algorithm = unverified_header(text)
            key = await self.keys.find(kid, algorithm)
            if key is None:
                raise BadToken("it is signed with a key that the issuer does not have")
            claims = verified_claims(
                text, key, algorithm, issuer=self._issuer, audiences=self._audiences, leeway=self._leeway
            )
            # The subject is logged: a line break in it would forge a log line.
            if not 0 < len(claims["sub"]) <= _LONGEST_SUBJECT or not claims["sub"].isprintable():
                raise BadToken(f"its subject must have 1 to {_LONGEST_SUBJECT} characters that can be printed")
        except BadToken as error:
            raise Unauthenticated(
                f"The token is rejected: {error}. Get a new one from {self._issuer}", headers=_CHALLENGE
            ) from error
        return Bearer(Caller(self._identity(claims), self._max_jobs), self._grants.scope(claims))

    def _identity(self, claims: dict[str, Any]) -> str:
        """An identity shared by all tokens of a subject; quotas, Idempotency-Keys and logs use it."""
        pair = json.dumps([claims["iss"], claims["sub"]])
        identity = f"oidc_{hashlib.sha256(pair.encode()).hexdigest()[:32]}"
        if self._seen.get(identity) is None:  # Who comes often is forgotten last.
            self._seen[identity] = True
            log.info("subject of a token", key=identity, subject=claims["sub"])
        return identity
