"""Posts one message to an address from untrusted input: to permitted addresses only, within a time limit."""

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

import httpcore2

from service.core.webhooks.stored import KEY_PREFIX
from service.network.egress import Egress, GuardedNetwork, Refused, Resolve, Resolver


def signatures(secrets: Iterable[str], id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature per secret; a receiver accepts any that it can verify."""
    return " ".join(signature(secret, id, timestamp, body) for secret in secrets)


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """The signature with one secret.

    Parameters
    ----------
    secret
        `whsec_` and the base64 of the key.
    timestamp
        Unix seconds of this attempt; receivers reject old timestamps.
    """
    key = base64.b64decode(secret.removeprefix(KEY_PREFIX))
    signed = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


_MOST_DIGITS: Final = 9
"""Of seconds. No longer pause is useful, and a response must not decide the size of a number that is parsed."""


def retry_after_seconds(value: str, now: datetime) -> float | None:
    """The pause that `Retry-After` requests, in seconds; 0 if it is over, None if the value is invalid."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _MOST_DIGITS else None
    try:
        moment = parsedate_to_datetime(text)
        # A date without a time zone is GMT, as all dates in HTTP.
        return max((moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds(), 0.0)
    except (ValueError, OverflowError):
        return None


TIMEOUT_SECONDS: Final = 15.0
"""For the whole attempt: name resolution, connection, TLS, request, response."""

_READ_AT_MOST: Final = 4096
_CONNECTIONS: Final = 64
_MAY_ASK: Final = (429, 503)


class Response(NamedTuple):
    """The result of an attempt: a status, or the reason why there is none.

    Attributes
    ----------
    refused
        Whether the message was not sent because its address is not permitted or cannot be resolved.
    retry_after
        Seconds that a response of 429 or 503 asks to wait.
    """

    status: int | None
    error: str | None
    refused: bool = False
    retry_after: float | None = None


class Post:
    """Sends messages without following redirects, without a proxy, on a new connection each time.

    Parameters
    ----------
    look_up
        Resolves host names; by default the system's resolver.
    ssl_context
        Trusted authorities; by default the system's.
    """

    def __init__(
        self,
        egress: Egress,
        *,
        look_up: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._timeout = timeout
        self._agent = f"preceptor/{version('preceptor-server')}"
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=_CONNECTIONS,
            max_keepalive_connections=0,
            network_backend=GuardedNetwork(egress, look_up or Resolver()),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.aclose()

    async def send(self, url: str, headers: dict[str, str], body: bytes) -> Response:
        """Post JSON. No behaviour of the receiver raises an exception."""
        # Set here: httpcore2 omits the brackets of an IPv6 address.
        host = urlsplit(url).netloc
        sent = {
            "Host": host,
            "User-Agent": self._agent,
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            **headers,
        }
        status: int | None = None
        pause: float | None = None
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._pool.stream("POST", url, headers=list(sent.items()), content=body) as response,
            ):
                status = response.status
                pause = _pause(response)
                await _skim(response)
        except Refused as error:
            return Response(None, f"refused: {error}", refused=True)
        except TimeoutError:
            return Response(status, None if status else f"no answer within {self._timeout:g} s", retry_after=pause)
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError) as error:
            reason = None if status else f"{type(error).__name__}: {str(error)[:200]}"
            return Response(status, reason, retry_after=pause)
        return Response(status, None, retry_after=pause)


def _pause(response: httpcore2.Response) -> float | None:
    """The requested pause, if the status allows one (429, 503)."""
    if response.status not in _MAY_ASK:
        return None
    for name, value in response.headers:
        if name.lower() == b"retry-after":
            return retry_after_seconds(value.decode("latin-1"), datetime.now(UTC))
    return None


async def _skim(response: httpcore2.Response) -> None:
    """Read the beginning of the body, so that a server that writes a short one can finish."""
    read = 0
    async for chunk in response.aiter_stream():
        read += len(chunk)
        if read >= _READ_AT_MOST:
            return
