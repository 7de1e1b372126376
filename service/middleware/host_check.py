"""Middleware: keeps web pages of others away from a service that asks for no API keys.

Where keys are asked for, a page has none to send, and nothing is looked at here.
"""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.core.errors import CrossSite, PreceptorError, UnknownHost
from service.http import problems
from service.network.host_names import Hosts

from .authentication import OPEN, READING

_REMEMBERED: Final = 256
"""Values of `Host` that need not be parsed again."""


class HostCheck:
    """Refuses requests to other names, and changes that other sites ask for (pure ASGI).

    Parameters
    ----------
    hosts
        What the service may be called.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self.app = app
        self._hosts = hosts
        self._accepted: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and not self._plainly_ours(scope) and not scope["app"].state.requires_keys:
            error = self._refusal(scope)
            if error is not None:
                await problems.answer(error, Request(scope))(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _plainly_ours(self, scope: Scope) -> bool:
        """The short way for what is asked most, and for what everyone may ask."""
        if scope["path"] in OPEN:
            return True
        accepted = self._accepted
        named = [value in accepted for name, value in scope["headers"] if name == b"host"]
        return named == [True] and scope["method"] in READING

    def _refusal(self, scope: Scope) -> PreceptorError | None:
        changes = scope["method"] not in READING
        named = False
        for name, value in scope["headers"]:
            if name == b"host":
                if value not in self._accepted and not self._accepts(value):
                    return _unknown(value)
                named = True
            elif changes and name == b"origin":
                if not self._hosts.accepts_origin(value.decode("latin-1")):
                    return _cross_site(f"A page of {_shown(value)}")
            elif changes and name == b"sec-fetch-site" and value == b"cross-site":
                return _cross_site("A page of another site")
        return None if named else _unknown(b"")

    def _accepts(self, value: bytes) -> bool:
        if not self._hosts.accepts(value.decode("latin-1")):
            return False
        if len(self._accepted) < _REMEMBERED:
            self._accepted.add(value)
        return True


def _unknown(value: bytes) -> UnknownHost:
    return UnknownHost(
        f"The request is for the host {_shown(value)}, and this service does not know that as its own. Where it is, "
        "the operator adds it to PRECEPTOR_HOSTS, or has the service ask for API keys"
    )


def _cross_site(whence: str) -> CrossSite:
    return CrossSite(
        f"{whence} asks for a change. While the service asks for no API keys, it takes changes from its own pages "
        "alone. Where the page is the operator's, its host is added to PRECEPTOR_HOSTS"
    )


def _shown(value: bytes) -> str:
    return repr(value.decode("latin-1")[:100])
