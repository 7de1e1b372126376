"""A service without API keys and the web pages in its operator's browser: over real HTTP, with a browser's headers."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest

from service.app import create_app
from service.core.api_keys import ApiKeys
from service.core.settings import Settings
from service.core.storage.object_store import Store

from .serving import serve

BODY = {"student": {"labels": ["cat", "dog"]}, "candidates": [{"name": "zoo", "labels": ["lion", "wolf"]}]}
JOBS = "/v1/recommendations"


@contextmanager
def service(settings: Settings, **changed: object) -> Iterator[httpx2.Client]:
    app = create_app(settings.model_copy(update=changed))
    with serve(app) as url, httpx2.Client(base_url=url, timeout=20) as client:
        yield client


def kind(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"] == answer.json()["instance"]
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def test_a_name_that_was_bound_to_this_machine_reaches_nothing(http: httpx2.Client) -> None:
    evil = {"Host": "evil.example:8321"}
    for method, path in (
        ("GET", "/v1/jobs"), ("GET", "/metrics"), ("GET", "/docs"), ("GET", "/nothing"), ("POST", JOBS),
        ("DELETE", f"/v1/teachers/tch_{'0' * 26}"), ("OPTIONS", "/v1/jobs"), ("HEAD", "/v1/jobs"),
    ):  # fmt: skip
        refused = http.request(method, path, headers=evil)
        assert refused.status_code == 421, path
        if method != "HEAD":
            assert kind(refused) == (421, "unknown-host")
            assert "PRECEPTOR_HOSTS" in refused.json()["detail"]
            assert "'evil.example:8321'" in refused.json()["detail"]
    assert http.get("/v1/jobs").json()["items"] == []
    for path in ("/health/live", "/health/ready"):
        assert http.get(path, headers=evil).status_code in (200, 503)


def test_all_names_of_the_loopback_address_and_those_of_the_setting(settings: Settings) -> None:
    with service(settings, hosts="service,ml.example.org", published_at="10.0.0.7", auth="off") as http:
        for host in ("localhost:8321", "127.0.0.1", "[::1]:8321", "service:8000", "ML.example.org", "10.0.0.7:80"):
            assert http.get("/v1/jobs", headers={"Host": host}).status_code == 200, host
        assert http.get("/v1/jobs", headers={"Host": "other.example.org"}).status_code == 421
    with service(settings, hosts="*") as http:
        assert http.get("/v1/jobs", headers={"Host": "other.example.org"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example:8321"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_another_site_changes_nothing(http: httpx2.Client, headers: dict[str, str]) -> None:
    # A form of another site can send text/plain without asking first.
    simple = {**headers, "Content-Type": "text/plain"}
    assert kind(http.post(JOBS, content=b"{}", headers=simple)) == (403, "cross-site")
    assert kind(http.post(JOBS, json=BODY, headers=headers)) == (403, "cross-site")
    assert kind(http.delete(f"/v1/teachers/tch_{'0' * 26}", headers=headers)) == (403, "cross-site")
    assert http.get("/v1/jobs", headers=headers).json()["items"] == []


def test_the_services_own_pages_and_programs_change_things(http: httpx2.Client, base_url: str) -> None:
    assert http.get("/docs").status_code == 200
    own = {"Origin": base_url, "Sec-Fetch-Site": "same-origin"}
    assert http.post(JOBS, json=BODY, headers=own).status_code == 202
    assert http.post(JOBS, json=BODY).status_code == 202


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/jobs HTTP/1.0\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n",
    ],
)
def test_no_host_and_two_hosts_are_refused(base_url: str, head: bytes) -> None:
    address = urlsplit(base_url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 80), timeout=20) as connection:
        connection.sendall(head)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.split()[1] in (b"421", b"400")


def test_where_keys_are_asked_for_the_name_does_not_matter(settings: Settings) -> None:
    keys = ApiKeys(Store(settings.store_url, settings.data / "scratch"))
    _, text = anyio.run(keys.mint, "one", "write")
    page = {"Host": "ml.example.org", "Origin": "https://app.example.org", "Authorization": f"Bearer {text}"}
    with service(settings) as http:
        assert http.get("/v1/jobs", headers={"Host": "ml.example.org"}).status_code == 401
        assert http.post(JOBS, json=BODY, headers=page).status_code == 202
