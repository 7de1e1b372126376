"""Fetches the issuer's documents, with limits on size and time, from permitted addresses, without redirects.

The operator chooses the issuer, which may be on a private network. Further URLs in the issuer's document (`jwks_uri`)
are not the operator's choice: for other hosts the rules for outgoing connections apply.
"""

import json
import ssl
from importlib.metadata import version
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpcore2

from service.network.egress import Egress, GuardedNetwork, Refused, Resolve, Resolver, insecure_url

LARGEST: Final = 512 * 1024
"""Bytes of a document. A key with its certificates has about 5 KiB."""


class DocumentUnavailable(Exception):
    """A document is not available; the message states why."""


class Documents:
    """The issuer's documents. Connections are not reused: documents are fetched a few times an hour.

    Parameters
    ----------
    look_up
        Resolves host names; by default the system's resolver.
    ssl_context
        Trusted authorities; by default the system's (or `SSL_CERT_FILE`).
    """

    def __init__(
        self,
        issuer: str,
        egress: Egress,
        *,
        look_up: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        host = (urlsplit(issuer).hostname or "").rstrip(".")
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_keepalive_connections=0,
            network_backend=GuardedNetwork(Egress(egress.hosts | {host}, egress.networks), look_up or Resolver()),
        )
        self._agent = f"preceptor/{version('preceptor-server')}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.aclose()

    async def get(self, url: str) -> dict[str, Any]:
        """Fetch one document, a JSON object. The caller limits the time.

        Raises
        ------
        DocumentUnavailable
            It cannot be fetched, or is not a JSON object.
        """
        reason = insecure_url(url)
        if reason is not None:
            raise DocumentUnavailable(f"{url[:200]!r} is not fetched: {reason}")
        headers = {
            "Host": urlsplit(url).netloc,
            "User-Agent": self._agent,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        try:
            async with self._pool.stream("GET", url, headers=list(headers.items())) as response:
                if response.status != 200:
                    moved = "; redirects are not followed" if 300 <= response.status < 400 else ""
                    raise DocumentUnavailable(f"{url[:200]} answers {response.status}{moved}")
                body = await _body(response, url)
        except Refused as error:
            raise DocumentUnavailable(f"{url[:200]} is not fetched: {error}") from error
        except (
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpcore2.TimeoutException,
            httpcore2.UnsupportedProtocol,
            OSError,
            ValueError,
        ) as error:
            raise DocumentUnavailable(f"{url[:200]}: {type(error).__name__}: {str(error)[:200]}") from error
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise DocumentUnavailable(f"{url[:200]} does not answer with JSON") from error
        if not isinstance(document, dict):
            raise DocumentUnavailable(f"{url[:200]} does not answer with a JSON object")
        return document


async def _body(response: httpcore2.Response, url: str) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > LARGEST:
            raise DocumentUnavailable(f"{url[:200]} answers with more than {LARGEST:,} bytes")
    return bytes(body)
