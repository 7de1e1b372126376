"""The issuer's keys over real HTTP: rotation, garbage that must not reach the issuer, an issuer in trouble."""

import asyncio
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import anyio
import httpx2
import pytest

from service.app import create_app
from service.core.api_keys import ApiKeys
from service.core.errors import IssuerUnavailable
from service.core.settings import Settings
from service.core.storage.object_store import Store
from service.network.egress import Egress
from service.oidc import issuer_keys
from service.oidc.fetch import LARGEST, Documents, DocumentUnavailable
from service.oidc.issuer_keys import IssuerKeys
from tests.integration.api.serving import serve

from .issuer import DISCOVERY, Issuer, b64, public_jwk, rsa_key

METADATA = "http://169.254.169.254/latest/meta-data/"


def status(http: httpx2.Client, token: str) -> int:
    return http.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code


def unavailable(http: httpx2.Client, token: str) -> str:
    """The detail of a 503 that says: the issuer's fault, come again."""
    answer = http.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) == issuer_keys.MIN_FETCH_INTERVAL_SECONDS
    assert answer.json()["type"] == "urn:preceptor:problem:issuer-unavailable"
    return answer.json()["detail"]


def test_a_new_key_is_found_when_a_token_names_it(
    http: httpx2.Client, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = issuer.token()
    assert status(http, old) == 200
    issuer.keys["two"] = rsa_key()
    rotated = issuer.token("two")
    assert status(http, rotated) == 401, "the keys were fetched a moment ago"
    assert len(issuer.asked) == 2
    monkeypatch.setattr(issuer_keys, "MIN_FETCH_INTERVAL_SECONDS", 0.0)
    assert [status(http, rotated), status(http, old)] == [200, 200]
    assert len(issuer.asked) == 4


def test_a_removed_key_ends(http: httpx2.Client, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    old = issuer.token()
    assert status(http, old) == 200
    issuer.keys = {"two": rsa_key()}
    assert status(http, old) == 200, "the keys are still fresh"
    monkeypatch.setattr(issuer_keys, "MIN_FETCH_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(issuer_keys, "REFRESH_SECONDS", 0.0)
    assert status(http, issuer.token("two")) == 200
    assert status(http, old) == 401


def test_garbage_does_not_reach_the_issuer(http: httpx2.Client, issuer: Issuer) -> None:
    assert status(http, issuer.token()) == 200
    before = len(issuer.asked)
    stranger = rsa_key()
    garbage = [issuer.token(f"kid-{number}", key=stranger) for number in range(60)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda token: status(http, token), garbage)) == {401}
    assert len(issuer.asked) == before
    assert status(http, issuer.token()) == 200


def test_many_at_once_before_the_first_fetch_are_one_fetch(http: httpx2.Client, issuer: Issuer) -> None:
    token = issuer.token()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: status(http, token), range(24))) == {200}
    assert issuer.asked == [DISCOVERY, "/keys"]


def test_what_cannot_be_a_token_of_ours_never_asks(http: httpx2.Client, issuer: Issuer) -> None:
    for token in ("a.b.c", "..", f"{b64({'alg': 'none'})}.e30.", f"{b64([1])}.e30.x", f"eyJ.{'A' * 20_000}.x", "....."):
        assert status(http, token) == 401
    assert issuer.asked == []


def test_an_issuer_that_is_down_stops_tokens_alone(settings: Settings, issuer: Issuer) -> None:
    keys = ApiKeys(Store(settings.store_url, settings.data / "scratch"))
    _, text = anyio.run(keys.mint, "ci", "read")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        app = create_app(settings.model_copy(update={"oidc_issuer": dead}))
        with serve(app) as url, httpx2.Client(base_url=url, timeout=20) as http:
            assert "use an API key" in unavailable(http, issuer.token(iss=dead))
            assert dead not in unavailable(http, issuer.token(iss=dead)), "addresses stay in the log"
            assert status(http, text) == 200


def test_known_keys_outlive_an_outage_for_a_while(
    http: httpx2.Client, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, fresh = issuer.token(), rsa_key()
    assert status(http, token) == 200
    issuer.answers[DISCOVERY] = (500, {})
    monkeypatch.setattr(issuer_keys, "MIN_FETCH_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(issuer_keys, "REFRESH_SECONDS", 0.0)
    assert [status(http, token) for _ in range(3)] == [200] * 3
    assert status(http, issuer.token("two", key=fresh)) == 503, "it may be a key that the issuer made in the meantime"
    monkeypatch.setattr(issuer_keys, "MAX_AGE_SECONDS", 0.0)
    assert status(http, token) == 503
    issuer.answers.clear()
    monkeypatch.setattr(issuer_keys, "MAX_AGE_SECONDS", 3600.0)
    assert status(http, issuer.token("one")) == 200


def test_a_failed_fetch_is_not_repeated_at_once(http: httpx2.Client, issuer: Issuer) -> None:
    issuer.answers[DISCOVERY] = (500, {})
    for _ in range(20):
        unavailable(http, issuer.token())
    assert issuer.asked == [DISCOVERY]


def test_an_issuer_that_hangs_is_waited_for_a_limited_time(
    settings: Settings, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "FETCH_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        app = create_app(settings.model_copy(update={"oidc_issuer": url}))
        with serve(app) as address, httpx2.Client(base_url=address, timeout=20) as http:
            unavailable(http, issuer.token(iss=url))


ENTRY = public_jwk(rsa_key(), kid="x")


@pytest.mark.parametrize(
    ("path", "said", "reason"),
    [
        (DISCOVERY, (302, {"Location": METADATA}), "redirects are not followed"),
        ("/keys", (307, {"Location": METADATA}), "redirects are not followed"),
        (DISCOVERY, b"<html>", "does not answer with JSON"),
        (DISCOVERY, b"[" * 100_000, "does not answer with JSON"),
        (DISCOVERY, b"[]", "does not answer with a JSON object"),
        (DISCOVERY, b'{"issuer": "https://evil.example.org", "jwks_uri": "x"}', "exactly this spelling"),
        ("/keys", b"{}", "no list of `keys`"),
        ("/keys", b'{"keys": []}', "no public key for signatures"),
        ("/keys", b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}]}', "no public key for signatures"),
        ("/keys", json.dumps({"keys": [{"kid": "one"}] * 100_000}).encode(), "answers with more than"),
        ("/keys", json.dumps({"keys": [{}] * 100_000}).encode(), "has 100,000 keys"),
        ("/keys", json.dumps({"keys": [ENTRY] * 201}).encode(), "has 201 keys"),
        ("/keys", b'{"keys": [' + b" " * LARGEST + b"]}", "answers with more than"),
    ],
)
def test_documents_that_cannot_be_used(
    http: httpx2.Client, issuer: Issuer, path: str, said: bytes | tuple[int, dict[str, str]], reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    issuer.answers[path] = said
    detail = unavailable(http, issuer.token())
    assert METADATA not in detail
    logged = capsys.readouterr().out
    assert "the issuer's keys are not available" in logged
    assert reason in logged


@pytest.mark.parametrize(
    "address",
    [
        METADATA, "http://10.0.0.1/keys", "https://10.0.0.1/keys", "https://169.254.169.254/keys",
        "file:///etc/passwd", "ftp://127.0.0.1/keys", "https://[::1", "https://user@127.0.0.1/keys", "", "/keys",
        "http://127.0.0.1:99999999/keys", "https://127.0.0.1 /keys", "https://127.0.0.1\r\nX: y/keys",
    ],
)  # fmt: skip
def test_where_the_keys_may_not_lie(http: httpx2.Client, issuer: Issuer, address: str) -> None:
    issuer.jwks_uri = address
    unavailable(http, issuer.token())


async def _found(where: dict[str, str], issuer: str, allow: str | None, url: str) -> str:
    asked: list[str] = []

    async def look_up(host: str, port: int) -> list[str]:
        asked.append(host)
        return [where[host]]

    async with Documents(issuer, Egress.of(allow), look_up=look_up) as documents:
        try:
            await documents.get(url)
        except DocumentUnavailable as error:
            return str(error)
    return "fetched"


@contextmanager
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.anyio
async def test_other_hosts_than_the_issuers_must_be_public_or_listed() -> None:
    where = {"id.example.org": "127.0.0.1", "keys.example.org": "127.0.0.1", "metadata": "169.254.169.254"}
    issuer = "https://id.example.org"
    with closed_port() as port:

        async def tried(host: str, allow: str | None = None) -> str:
            return await _found(where, issuer, allow, f"https://{host}:{port}/keys")

        assert "ConnectError" in await tried("id.example.org"), "the operator chose this one: any address will do"
        assert "not a public address" in await tried("keys.example.org")
        assert "ConnectError" in await tried("keys.example.org", "keys.example.org")
        assert "not a public address" in await tried("metadata", "10.0.0.0/8")
        plain = await _found(where, issuer, "keys.example.org", f"http://keys.example.org:{port}/keys")
        assert "must begin with https://" in plain, "also where the operator allows the host"


@pytest.mark.anyio
async def test_old_keys_are_replaced_while_they_go_on(issuer: Issuer) -> None:
    moment = [0.0]
    async with Documents(issuer.url, Egress.of(None)) as documents:
        keys = IssuerKeys(issuer.url, documents, lambda: moment[0])
        assert await keys.find("one", "RS256") is not None
        issuer.keys = {"two": rsa_key()}
        moment[0] = issuer_keys.REFRESH_SECONDS
        assert await keys.find("one", "RS256") is not None
        assert len(issuer.asked) == 2, "they are still fresh"
        moment[0] += 1
        assert await keys.find("one", "RS256") is not None, "nobody waits for the new ones"
        await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name() == "issuer keys"])
        assert len(issuer.asked) == 4
        assert await keys.find("one", "RS256") is None
        assert await keys.find("two", "RS256") is not None
        issuer.answers[DISCOVERY] = (500, {})
        moment[0] += issuer_keys.MAX_AGE_SECONDS
        assert await keys.find("two", "RS256") is not None
        await keys.aclose()
        moment[0] += 1
        with pytest.raises(IssuerUnavailable):
            await keys.find("two", "RS256")


async def _hanging(issuer: Issuer) -> tuple[IssuerKeys, asyncio.Event, Documents]:
    """Keys of an issuer whose first document arrives when the event is set."""
    documents, go = Documents(issuer.url, Egress.of(None)), asyncio.Event()
    fetched = documents.get

    async def later(url: str) -> dict[str, Any]:
        await go.wait()
        return await fetched(url)

    documents.get = later  # type: ignore[method-assign]
    return IssuerKeys(issuer.url, documents), go, documents


@pytest.mark.anyio
async def test_a_caller_who_goes_away_does_not_end_the_fetch_of_others(issuer: Issuer) -> None:
    keys, go, documents = await _hanging(issuer)
    async with documents:
        first, second = (asyncio.create_task(keys.find("one", "RS256")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        go.set()
        assert await second is not None
        assert first.cancelled()
    assert issuer.asked == [DISCOVERY, "/keys"]


@pytest.mark.anyio
async def test_closing_ends_a_fetch_that_hangs(issuer: Issuer) -> None:
    keys, _, documents = await _hanging(issuer)
    async with documents:
        waiting = asyncio.create_task(keys.find("one", "RS256"))
        await asyncio.sleep(0)
        await keys.aclose()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "issuer keys"]
        with pytest.raises(asyncio.CancelledError):
            await waiting
