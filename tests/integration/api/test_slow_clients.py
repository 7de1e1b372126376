"""Silent connections, half a head, half a body, too many at once: each is ended, and the service goes on."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import anyio
import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from service.app import create_app
from service.core.errors import BodyStalled
from service.core.settings import Settings
from service.middleware.body_limits import BodyPace

from .slow import connected, everything, limited

HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    settings.body_seconds = 0.3
    return create_app(settings)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with limited(app, head_seconds=0.3) as address:
        yield address


@pytest.mark.parametrize("sent", [b"", b"GET /health/live HTTP/1.1\r\nHost: local"])
def test_a_head_that_does_not_come_ends_the_connection(url: str, sent: bytes) -> None:
    with connected(url) as connection:
        started = time.monotonic()
        connection.sendall(sent)
        assert everything(connection) == b""
        assert 0.2 < time.monotonic() - started < 5


def test_bytes_that_trickle_do_not_prolong_it(url: str) -> None:
    with connected(url) as connection:
        connection.settimeout(0.05)
        connection.sendall(b"GET /health/live HTTP/1.1\r\n")
        for number in range(100):
            try:
                connection.sendall(b"X-%d: 1\r\n" % number)
                if connection.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return
    pytest.fail("the connection is still open")


def answered(connection: socket.socket) -> bytes:
    """The answer of `/health/live`."""
    received = b""
    while not received.endswith(b"}}"):
        received += connection.recv(65536)
    return received


def test_the_second_request_of_a_connection_has_its_time_too(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answered(connection).startswith(b"HTTP/1.1 200")
        time.sleep(0.5)  # Longer than a head may take: between two requests a connection may rest.
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answered(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /health/live")
        started = time.monotonic()
        assert everything(connection) == b""
        assert time.monotonic() - started < 3  # Before the five seconds of a resting connection.


@pytest.mark.parametrize("path", ["/v1/label-sets", "/v1/probes?format=csv"])
def test_a_body_that_stalls_is_answered_408(url: str, path: str) -> None:
    with connected(url) as connection:
        connection.sendall(b"POST " + path.encode() + b" HTTP/1.1\r\n" + HEAD + b'Content-Length: 100\r\n\r\n{"labels"')
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert b"urn:preceptor:problem:body-stalled" in answer


def test_a_slow_body_that_goes_on_is_read(url: str) -> None:
    body = b'{"labels": ["a", "b"]}'
    with connected(url) as connection:
        connection.sendall(b"POST /v1/label-sets HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 4):
            time.sleep(0.1)
            connection.sendall(body[start : start + 4])
        assert connection.recv(65536).startswith(b"HTTP/1.1 201")


async def _paced(times: list[float], rate: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many single bytes of a body are read that come after these seconds each, by a clock that does not run."""
    now = 0.0
    monkeypatch.setattr("service.middleware.body_limits.time.monotonic", lambda: now)
    monkeypatch.setattr("service.middleware.body_limits.asyncio.timeout", lambda seconds: _Deadline(seconds))
    deadline = float("inf")
    read = 0

    class _Deadline:
        def __init__(self, seconds: float) -> None:
            nonlocal deadline
            deadline = now + seconds

        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *_: object) -> None: ...

    async def receive() -> dict[str, object]:
        nonlocal now
        if read == len(times):
            return {"type": "http.request", "body": b"", "more_body": False}
        now += times[read]
        if now > deadline:
            now = deadline
            raise TimeoutError
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def reader(_: Scope, receive: Receive, send: Send) -> None:
        nonlocal read, now
        while (await receive())["more_body"]:
            read += 1
            now += 1000.0  # What the service takes itself does not count.

    async def send(_: object) -> None: ...

    with suppress(BodyStalled):
        await BodyPace(reader, seconds=60, rate=rate)({"type": "http", "method": "POST"}, receive, send)
    return read


@pytest.mark.parametrize(
    ("times", "rate", "read"),
    [
        ([3.0] * 100, 1024, 10),  # A byte every 3 s: never silence, and ended after 30 s.
        ([3.0] * 100, 0, 100),
        ([0.01] * 5000, 1, 5000),
        ([25.0] + [0.9] * 200, 1, 201),
        ([1.0, 59.0, 61.0], 0, 2),
        ([29.0] + [0.002] * 5000, 1024, 977),  # Half of the least rate.
    ],
)
def test_a_body_has_a_least_rate(times: list[float], rate: int, read: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert anyio.run(_paced, times, rate, monkeypatch) == pytest.approx(read, abs=1)


def test_a_body_that_drips_is_answered_408(settings: Settings) -> None:
    settings.body_rate = 1_000_000_000
    app = create_app(settings)
    (pace,) = (each for each in app.user_middleware if each.cls is BodyPace)
    pace.kwargs["grace"] = 0.2
    with limited(app) as url, connected(url) as connection:
        connection.sendall(b"POST /v1/probes?format=csv HTTP/1.1\r\n" + HEAD + b"Content-Length: 100000\r\n\r\n")
        connection.settimeout(0.02)
        answer = b""
        for _ in range(1000):
            with suppress(TimeoutError):
                if answer := connection.recv(65536):
                    break
            connection.sendall(b"x")
        connection.settimeout(10)
        answer += everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"PRECEPTOR_BODY_RATE" in answer


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/label-sets HTTP/1.1\r\n" + HEAD + b"Content-Length: 22\r\nTransfer-Encoding: chunked\r\n",
        b"POST /v1/label-sets HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        b"GET /health/live HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"POST /v1/label-sets HTTP/1.0\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n",
    ],
)
def test_a_body_with_two_ends_is_refused_and_the_connection_closed(url: str, head: bytes) -> None:
    chunked = b'16\r\n{"labels": ["a", "b"]}\r\n0\r\n\r\n'
    with connected(url) as connection:
        connection.sendall(head + b"\r\n" + chunked + b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1 + answer.count(b"by HTTP/1.1")
    assert b"connection: close" in answer.lower()
    assert b"malformed-request" in answer


def test_a_chunked_body_alone_is_read(url: str) -> None:
    chunked = b'16\r\n{"labels": ["a", "b"]}\r\n0\r\n\r\n'
    with connected(url) as connection:
        connection.sendall(b"POST /v1/label-sets HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked)
        assert connection.recv(65536).startswith(b"HTTP/1.1 201")


def test_the_rest_of_a_refused_body_is_not_waited_for(url: str) -> None:
    with connected(url) as connection:
        connection.settimeout(0.05)
        connection.sendall(b"POST /v1/label-sets HTTP/1.1\r\n" + HEAD + b"Content-Length: 999999999\r\n\r\n")
        answer = b""
        for _ in range(100):
            try:
                connection.sendall(b"x")
                chunk = connection.recv(65536)
                answer += chunk
                if chunk == b"":
                    break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        else:
            pytest.fail("the connection is still open")
    assert answer.startswith(b"HTTP/1.1 413")


def test_connections_beyond_the_most_get_503_and_health_is_answered(settings: Settings) -> None:
    with limited(create_app(settings), most=8) as url, ExitStack() as open_ones:

        def ask(path: str) -> httpx2.Response:
            with httpx2.Client(base_url=url, timeout=10) as client:
                return client.get(path)

        assert ask("/v1/jobs").status_code == 200
        kept = [open_ones.enter_context(connected(url)) for _ in range(8)]
        refused = ask("/v1/jobs")
        assert refused.status_code == 503
        assert refused.json()["type"].endswith("too-many-connections")
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["connection"] == "close"
        assert ask("/health/live").status_code == 200
        # Beyond a quarter more nothing is answered at all.
        kept += [open_ones.enter_context(connected(url)) for _ in range(2)]
        with connected(url) as beyond:
            beyond.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert everything(beyond) == b""
        for connection in kept:
            connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 5
        while ask("/v1/jobs").status_code != 200:
            assert time.monotonic() < deadline
