"""Middleware: who may do what. Every path needs a key but the health checks, where keys are asked for at all."""

import ipaddress
from typing import Final

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope as Connection, Send

from service.state.api_keys import ApiKeys, Scope
from service.state.caller import CALLER, Caller
from service.state.errors import Forbidden, PreceptorError, Unauthenticated
from service.state.settings import Settings
from service.state.state import State

from . import problems

_OPEN: Final = frozenset({"/health/live", "/health/ready"})
_WEBHOOKS: Final = "/v1/webhooks"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="preceptor"'}


class UnsafeAddress(Exception):
    """The service would be open to everyone; the message says how to close it."""


async def keys_are_asked_for(settings: Settings, keys: ApiKeys) -> bool:
    """Whether requests need a key, after the setting `auth`.

    Raises
    ------
    UnsafeAddress
        The address can be reached from elsewhere, there is no key, and nobody has said that this is meant.
    """
    if settings.auth == "off":
        return False
    if settings.auth == "on" or await keys.any():
        return True
    if is_loopback(settings.host):
        return False
    raise UnsafeAddress(
        f"The service will not listen on {settings.host}: other machines can reach it, and there is no API key. Mint "
        "one with `python -m service.keys mint --name <name> --scope admin`, or set PRECEPTOR_AUTH=off where something "
        "else keeps strangers out"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def needed(method: str, path: str) -> Scope:
    """The scope that a request needs.

    Webhooks are the operator's: they make the service connect to elsewhere, and their addresses are often secrets.
    """
    if path == _WEBHOOKS or path.startswith(f"{_WEBHOOKS}/"):
        return "admin"
    if method in _READING:
        return "read"
    return "admin" if method == "DELETE" else "write"


class Authenticated:
    """Lets in who has a key (pure ASGI)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["path"] not in _OPEN and scope["app"].state.asks_for_keys:
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
    state: State = scope["app"].state.preceptor
    given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    kind, _, text = given.partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        raise Unauthenticated("Send an API key: Authorization: Bearer <key>", headers=_CHALLENGE)
    key = await state.api_keys.verified(text.strip())
    if key is None:
        raise Unauthenticated(
            "The API key is not known, has expired or was revoked. Ask the operator for another", headers=_CHALLENGE
        )
    wanted = needed(scope["method"], scope["path"])
    if not key.allows(wanted):
        raise Forbidden(f"The API key {key.name!r} has the scope {key.scope!r}; this needs {wanted!r}")
    return Caller(key.id, key.max_jobs)
