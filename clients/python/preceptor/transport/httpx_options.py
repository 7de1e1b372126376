"""What both drivers share about httpx2: building its requests, reading its answers, naming its failures."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import httpx2

from ..core.effects import Reply, Request
from ..core.settings import Settings
from ..errors import PreceptorError, ServiceUnreachableError

LIMITS: Final = httpx2.Limits(max_connections=20, max_keepalive_connections=10)


def client_options(settings: Settings) -> dict[str, Any]:
    """Arguments of an httpx2 client."""
    return {
        "base_url": settings.base_url,
        "timeout": httpx2.Timeout(settings.timeout, connect=min(settings.timeout, 10.0)),
        "limits": LIMITS,
        "trust_env": not settings.loopback,
        "follow_redirects": False,
    }


def request_options(settings: Settings, request: Request) -> dict[str, Any]:
    """Arguments of `build_request`, all but the content."""
    options: dict[str, Any] = {
        "method": request.method,
        "url": settings.base_url + request.path,
        "headers": {**settings.headers(), **request.headers},
    }
    if request.query:
        options["params"] = list(request.query)
    if request.read_timeout is not None:
        connect = min(settings.timeout, 10.0)
        options["timeout"] = httpx2.Timeout(settings.timeout, connect=connect, read=request.read_timeout)
    return options


def head(response: httpx2.Response) -> Reply:
    """The status and headers of an answer."""
    return Reply(status=response.status_code, headers={name.lower(): v for name, v in response.headers.items()})


@contextmanager
def failures(settings: Settings) -> Generator[None]:
    """Turn httpx2's failures into ours."""
    try:
        yield
    except httpx2.ConnectError as error:
        raise ServiceUnreachableError(
            f"cannot connect to {settings.base_url} ({error}). Is the service running there? "
            "Start it with `make up`, or give its address with PRECEPTOR_URL, --url or base_url"
        ) from None  # httpx2's own trace is four times as long and says no more than its message
    except httpx2.TimeoutException as error:
        raise ServiceUnreachableError(
            f"{settings.base_url} gave no answer in time ({type(error).__name__}). Is the service overloaded? "
            f"Wait longer with timeout=... (now {settings.timeout:g} s)"
        ) from None
    except httpx2.TransportError as error:
        raise ServiceUnreachableError(
            f"the connection to {settings.base_url} broke ({type(error).__name__}: {error}). "
            "Is the service running there, or was it restarted?"
        ) from None
    except (httpx2.InvalidURL, httpx2.DecodingError) as error:
        raise PreceptorError(f"{settings.base_url}: {error}") from error
