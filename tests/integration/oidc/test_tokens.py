"""Tokens over real HTTP: which are taken, which are not, and what a taken one allows."""

import hashlib
import hmac
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from preceptor import AuthenticationError, Client, PermissionDeniedError
from service.app import create_app
from service.core.api_keys import ApiKeys
from service.core.settings import Settings
from service.core.storage.object_store import Store
from service.middleware.authentication import UnsafeAddress, keys_are_required
from service.oidc.optional import LibraryMissing
from tests.integration.api.serving import serve

from .issuer import DISCOVERY, Issuer, b64, public_pem, rsa_key

BODY = {"student": {"labels": ["cat", "dog"]}, "candidates": [{"name": "zoo", "labels": ["lion", "wolf"]}]}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def detail_of_refusal(answer: httpx2.Response) -> str:
    """The detail of a 401 for a token."""
    assert answer.status_code == 401, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="preceptor", error="invalid_token"'
    body = answer.json()
    assert body["type"] == "urn:preceptor:problem:unauthenticated"
    return body["detail"]


def test_a_good_token_is_taken_and_the_keys_are_fetched_once(http: httpx2.Client, issuer: Issuer) -> None:
    assert issuer.asked == [], "nothing is fetched before a token comes"
    token = issuer.token()
    assert [http.get("/v1/jobs", headers=bearer(token)).status_code for _ in range(5)] == [200] * 5
    assert http.get("/v1/jobs", headers={"Authorization": f"bearer {token}"}).status_code == 200
    assert issuer.asked == [DISCOVERY, "/keys"]
    assert http.get("/v1/jobs").status_code == 401
    assert http.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa_key(), "RS512"), (rsa_key(), "PS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"), (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"), (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"],
)  # fmt: skip
def test_the_algorithms_that_are_taken(http: httpx2.Client, issuer: Issuer, key: Any, algorithm: str) -> None:
    issuer.keys["other"] = key
    assert http.get("/v1/jobs", headers=bearer(issuer.token("other", algorithm=algorithm))).status_code == 200
    broken = issuer.token("other", algorithm=algorithm)[:-20] + "A" * 20
    assert "signature is wrong" in detail_of_refusal(http.get("/v1/jobs", headers=bearer(broken)))


def test_claims_that_do_not_fit(http: httpx2.Client, issuer: Issuer) -> None:
    moment = int(time.time())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"exp": moment - 60}, "has expired"),
        ({"nbf": moment + 600}, "not valid yet"),
        ({"aud": "another-service"}, "another audience"),
        ({"aud": ["another", "third"]}, "another audience"),
        ({"aud": {"preceptor": 1}}, "another audience"),
        ({"iss": "https://evil.example.org"}, "another issuer"),
        ({"exp": None}, "lacks the claim `exp`"),
        ({"aud": None}, "lacks the claim `aud`"),
        ({"iss": None}, "lacks the claim `iss`"),
        ({"sub": None}, "lacks the claim `sub`"),
        ({"sub": ""}, "subject must have"),
        ({"sub": "x" * 256}, "subject must have"),
        ({"sub": "ada\n2026-01-01 [info] forged line"}, "can be printed"),
        ({"sub": "\x1b[2J"}, "can be printed"),
        ({"sub": 7}, "subject is not a string"),
        ({"exp": float("inf")}, "claims cannot be read"),
        ({"exp": "soon"}, "claims cannot be read"),
    ]
    for changed, says in cases:
        token = issuer.token(**changed)
        detail = detail_of_refusal(http.get("/v1/jobs", headers=bearer(token)))
        assert says in detail, changed
        assert token not in detail
    assert http.get("/v1/jobs", headers=bearer(issuer.token())).status_code == 200


def test_clocks_may_differ_a_little(http: httpx2.Client, issuer: Issuer) -> None:
    moment = int(time.time())
    for changed in ({"exp": moment - 2}, {"nbf": moment + 3}, {"iat": moment + 3}):
        assert http.get("/v1/jobs", headers=bearer(issuer.token(**changed))).status_code == 200, changed


def test_a_token_may_be_for_several_audiences(http: httpx2.Client, issuer: Issuer) -> None:
    token = issuer.token(aud=["another", "preceptor"])
    assert http.get("/v1/jobs", headers=bearer(token)).status_code == 200


def test_signatures_that_prove_nothing(http: httpx2.Client, issuer: Issuer) -> None:
    claims = b64(issuer.claims())
    signed = issuer.token()
    header, _, signature = signed.split(".")
    stolen = b64(issuer.claims(scope="preceptor:admin"))
    public = public_pem(issuer.keys["one"])
    secret_input = f"{b64({'alg': 'HS256', 'kid': 'one', 'typ': 'JWT'})}.{claims}"
    with_public_key = f"{secret_input}.{b64(hmac.new(public, secret_input.encode(), hashlib.sha256).digest())}"
    bad = {
        "none": f"{b64({'alg': 'none', 'kid': 'one'})}.{claims}.",
        "None": f"{b64({'alg': 'None', 'kid': 'one'})}.{claims}.",
        "no algorithm": f"{b64({'kid': 'one'})}.{claims}.{signature}",
        "HS256 with the public key": with_public_key,
        "no signature": f"{header}.{claims}.",
        "the signature of another": f"{header}.{stolen}.{signature}",
        "another key under a known name": issuer.token("one", key=rsa_key()),
        "a list for an algorithm": f"{b64({'alg': ['RS256'], 'kid': 'one'})}.{claims}.{signature}",
    }
    for name, token in bad.items():
        detail = detail_of_refusal(http.get("/v1/jobs", headers=bearer(token)))
        assert "algorithm is not accepted" in detail or "signature is wrong" in detail, name
    assert http.get("/v1/jobs", headers=bearer(signed)).status_code == 200


def test_scopes(http: httpx2.Client, issuer: Issuer) -> None:
    tokens = {
        "nothing": issuer.token(scope="openid profile"),
        "absent": issuer.token(scope=None),
        "read": issuer.token(scope="preceptor:read"),
        "write": issuer.token(scope=["other", "preceptor:write"]),
        "admin": issuer.token(scope="preceptor:read preceptor:admin"),
        "near": issuer.token(scope="preceptor:administrator xpreceptor:admin"),
        "number": issuer.token(scope=7),
    }
    allowed: dict[str, list[int]] = {}
    for name, text in tokens.items():
        allowed[name] = [
            http.get("/v1/jobs", headers=bearer(text)).status_code,
            http.post("/v1/recommendations", json=BODY, headers=bearer(text)).status_code,
            http.delete(f"/v1/teachers/tch_{'0' * 26}", headers=bearer(text)).status_code,
            http.get("/v1/webhooks", headers=bearer(text)).status_code,
        ]
    none = [403] * 4
    assert allowed == {
        "nothing": none, "absent": none, "near": none, "number": none,
        "read": [200, 403, 403, 403], "write": [200, 202, 403, 403], "admin": [200, 202, 404, 200],
    }  # fmt: skip
    refused = http.post("/v1/recommendations", json=BODY, headers=bearer(tokens["read"]))
    assert refused.json()["detail"] == "The token allows 'read'; this needs 'write'"
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]


def test_one_subject_is_one_caller_whatever_its_token(settings: Settings, issuer: Issuer) -> None:
    with (
        serve(create_app(settings.model_copy(update={"oidc_max_jobs": 2}))) as url,
        httpx2.Client(base_url=url) as http,
    ):

        def submitted(key: str | None = None, **changed: Any) -> httpx2.Response:
            headers = bearer(issuer.token(**changed)) | ({} if key is None else {"Idempotency-Key": key})
            return http.post("/v1/recommendations", json=BODY, headers=headers)

        first = submitted("same", jti="1")
        assert submitted("same", jti="2", exp=int(time.time()) + 900).json()["id"] == first.json()["id"]
        assert submitted("same", sub="grace").json()["id"] != first.json()["id"]
        assert submitted().status_code == 202
        over = submitted()
        assert over.status_code == 429
        assert over.json()["type"] == "urn:preceptor:problem:quota-reached"
        assert submitted(sub="grace").status_code == 202


def test_api_keys_go_on_besides_tokens(settings: Settings, issuer: Issuer) -> None:
    keys = ApiKeys(Store(settings.store_url, settings.data / "scratch"))
    _, text = anyio.run(keys.mint, "ci", "read")
    with serve(create_app(settings)) as url, httpx2.Client(base_url=url) as http:
        assert http.get("/v1/jobs", headers=bearer(text)).status_code == 200
        assert http.get("/v1/jobs", headers=bearer(issuer.token())).status_code == 200
        assert http.get("/v1/jobs", headers=bearer(text + "x")).status_code == 401


def test_the_sdk_sends_a_token_where_it_sends_a_key(
    base_url: str, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRECEPTOR_API_KEY", issuer.token(scope="preceptor:read"))
    with Client(base_url) as client:
        assert list(client.jobs.list()) == []
        with pytest.raises(PermissionDeniedError, match="this needs 'write'"):
            client.recommendations.create(student=["cat", "dog"], candidates={"zoo": ["lion", "wolf"]})
    with Client(base_url, issuer.token(aud="another")) as client, pytest.raises(AuthenticationError, match="audience"):
        list(client.jobs.list())


def test_an_issuer_counts_as_authentication(settings: Settings) -> None:
    keys = ApiKeys(Store(settings.store_url, settings.data / "scratch"))
    public = {"host": "0.0.0.0"}
    assert anyio.run(keys_are_required, settings.model_copy(update=public), keys) is True
    with pytest.raises(UnsafeAddress, match="PRECEPTOR_OIDC_ISSUER"):
        anyio.run(keys_are_required, settings.model_copy(update={**public, "oidc_issuer": None}), keys)


def test_without_an_issuer_tokens_are_nothing_and_their_library_is_not_loaded(tmp_path: Path, issuer: Issuer) -> None:
    program = (
        "import sys; from service.app import create_app; from service.core.settings import Settings; "
        "create_app(Settings()); print('jwt' in sys.modules)"
    )
    environment = {**os.environ, "PRECEPTOR_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"
    named = {"PRECEPTOR_OIDC_ISSUER": issuer.url, "PRECEPTOR_OIDC_AUDIENCE": "us"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment | named, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "True"


def test_tokens_are_unknown_keys_where_no_issuer_is_set(tmp_path: Path, redis_url: str, issuer: Issuer) -> None:
    plain = create_app(Settings(data=tmp_path / "plain", redis_url=redis_url, auth="on"))
    with serve(plain) as url, httpx2.Client(base_url=url) as http:
        assert http.get("/v1/jobs", headers=bearer(issuer.token())).status_code == 401
    assert issuer.asked == []


def test_a_missing_library_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("service.oidc.tokens", "service.oidc.jwt"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(LibraryMissing, match=r"preceptor-server\[oidc\]"):
        create_app(settings)


def test_the_service_does_not_start_without_the_library(settings: Settings, issuer: Issuer) -> None:
    program = "import sys; sys.modules['jwt'] = None; from service.__main__ import main; main()"
    environment = {
        **os.environ, "PRECEPTOR_DATA": str(settings.data), "REDIS_URL": str(settings.redis_url), "PRECEPTOR_PORT": "0",
        "PRECEPTOR_OIDC_ISSUER": issuer.url, "PRECEPTOR_OIDC_AUDIENCE": "us",
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 78
    assert "preceptor-server[oidc]" in ended.stderr
    assert "Traceback" not in ended.stderr
