"""Middleware: who may do what. Where keys are asked for at all, every path needs one but health checks and `/docs`.

In the place of a key there may be a token of the issuer that the operator names (`service.oidc`).
"""

from typing import TYPE_CHECKING, Final

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope as Connection, Send

from service.core.api_keys import CALLER, ApiKeys, Caller, Scope
from service.core.errors import Forbidden, MalformedRequest, PreceptorError, Unauthenticated
from service.core.settings import Settings
from service.core.state import State
from service.http import problems
from service.network.egress import is_loopback
from service.oidc.optional import looks_like_token

if TYPE_CHECKING:
    from service.oidc.tokens import Tokens

OPEN: Final = frozenset({"/health/live", "/health/ready"})
"""For everyone: supervisors and load balancers ask there."""

PAGE: Final = frozenset({"/docs", "/docs/page.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"})
"""A page that holds nothing of the deployment: browsers send no key with an address."""

_KEYLESS: Final = OPEN | PAGE

_WEBHOOKS: Final = "/v1/webhooks"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="preceptor"'}
_TOO_SMALL: Final = {"WWW-Authenticate": 'Bearer realm="preceptor", error="insufficient_scope"'}


class UnsafeAddress(Exception):
    """The service would be open to everyone; the message says how to close it."""


async def keys_are_required(settings: Settings, keys: ApiKeys) -> bool:
    """Whether requests need a key, after the setting `auth`.

    Raises
    ------
    UnsafeAddress
        The address can be reached from elsewhere, there is no key, and nobody has said that this is meant.
    """
    if settings.auth == "off":
        return False
    if settings.auth == "on" or settings.oidc_issuer is not None or await keys.ever():
        return True
    address = settings.published_at or settings.host
    if is_loopback(address):
        return False
    raise UnsafeAddress(
        f"The service will not listen on {address}: other machines can reach it, and there is no API key. Create "
        "one with `preceptor-server keys create --name <name> --scope admin`, or name an issuer of tokens in "
        "PRECEPTOR_OIDC_ISSUER, or set PRECEPTOR_AUTH=off where something else keeps strangers out"
    )


def needed(method: str, path: str) -> Scope:
    """The scope that a request needs.

    Webhooks are the operator's: they make the service connect to elsewhere, and their addresses are often secrets.
    """
    if path == _WEBHOOKS or path.startswith(f"{_WEBHOOKS}/"):
        return "admin"
    if method in READING:
        return "read"
    return "admin" if method == "DELETE" else "write"


class Authentication:
    """Lets in who has a key or a token (pure ASGI)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["path"] not in _KEYLESS and scope["app"].state.requires_keys:
            try:
                caller = await _caller(scope)
            except PreceptorError as error:
                await problems.answer(error, Request(scope))(scope, receive, send)
                return
            token = CALLER.set(caller)
            structlog.contextvars.bind_contextvars(key=caller.key)
            try:
                await self.app(scope, receive, send)
            finally:
                CALLER.reset(token)
            return
        await self.app(scope, receive, send)


async def _caller(scope: Connection) -> Caller:
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) > 1:
        # A proxy in front may have judged by another one than the service would.
        raise MalformedRequest("There are several Authorization headers; send one")
    kind, _, text = (given[0] if given else b"").decode("latin-1").partition(" ")
    text = text.strip()
    tokens: Tokens | None = scope["app"].state.tokens
    if kind.lower() != "bearer" or not text:
        what = "an API key, or a token," if tokens is not None else "an API key"
        raise Unauthenticated(f"Send {what} as Authorization: Bearer <text>", headers=_CHALLENGE)
    wanted = needed(scope["method"], scope["path"])
    if tokens is not None and looks_like_token(text):
        return await _caller_by_token(tokens, text, wanted)
    state: State = scope["app"].state.preceptor
    key = await state.api_keys.verified(text)
    if key is None:
        raise Unauthenticated(
            "The API key is not known, has expired or was revoked. Ask the operator for another", headers=_CHALLENGE
        )
    if not key.allows(wanted):
        raise Forbidden(f"The API key {key.name!r} has the scope {key.scope!r}; this needs {wanted!r}")
    return Caller(key.id, key.max_jobs)


async def _caller_by_token(tokens: "Tokens", text: str, wanted: Scope) -> Caller:
    bearer = await tokens.bearer(text)
    if not bearer.allows(wanted):
        has = f"allows {bearer.scope!r}" if bearer.scope is not None else "allows nothing here"
        raise Forbidden(f"The token {has}; this needs {wanted!r}", headers=_TOO_SMALL)
    return bearer.caller
