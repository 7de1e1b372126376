"""What an attacker would try with a token. None of it lets anyone in, asks anyone but the issuer, or ends in a 500."""

import json
import socket
import threading
from collections.abc import Iterator

import httpx2
import jwt
import pytest

from .issuer import DISCOVERY, Issuer, b64, public_jwk, public_pem, rsa_key

ADMIN = {"scope": "preceptor:admin"}


@pytest.fixture
def trap() -> Iterator[tuple[str, list[str]]]:
    """An address of the attacker's, and the first bytes of each connection to it."""
    heard: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def listen() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(100).decode("latin-1"))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", heard
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def get(http: httpx2.Client, token: str, path: str = "/v1/jobs") -> int:
    return http.get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def test_keys_that_a_token_brings_or_points_to_are_not_used(
    http: httpx2.Client, issuer: Issuer, trap: tuple[str, list[str]]
) -> None:
    url, heard = trap
    mine = rsa_key()
    entry = public_jwk(mine, kid="mine")
    for header in (
        {"jwk": entry}, {"jku": f"{url}/keys"}, {"x5u": f"{url}/chain"}, {"x5c": [b64(public_pem(mine))]},
        {"jku": f"{url}/keys", "jwk": entry, "x5u": url},
    ):  # fmt: skip
        for kid in ("one", "mine", None):
            assert get(http, issuer.token(kid, key=mine, header=header, **ADMIN)) == 401, header
    assert heard == []
    assert set(issuer.asked) == {DISCOVERY, "/keys"}


def test_a_key_id_is_a_name_and_nothing_else(http: httpx2.Client, issuer: Issuer) -> None:
    stranger = rsa_key()
    names = [
        "../../../../dev/null", "/etc/passwd", "file:///dev/null", "http://169.254.169.254/", "one' OR '1'='1",
        "one\x00", "one ", "ONE", "", "%6fne", "|id", "{{7*7}}", "k" * 5_000, "\u202e one",
    ]  # fmt: skip
    for kid in names:
        assert get(http, issuer.token(kid, key=stranger, **ADMIN)) == 401, kid
    assert set(issuer.asked) <= {DISCOVERY, "/keys"}


def test_a_key_id_of_another_type(http: httpx2.Client, issuer: Issuer) -> None:
    for kid in (7, None, True, ["one"], {"one": 1}, 1e400):
        head = b64(json.dumps({"alg": "RS256", "kid": kid}).encode())
        assert get(http, f"{head}.{b64(issuer.claims(**ADMIN))}.{b64(b'x' * 256)}") == 401, kid


def test_without_a_key_id_only_where_there_is_no_choice(http: httpx2.Client, issuer: Issuer) -> None:
    nameless = issuer.token(None, key=issuer.keys["one"])
    assert get(http, nameless) == 200


def test_without_a_key_id_where_there_are_two(http: httpx2.Client, issuer: Issuer) -> None:
    issuer.keys["two"] = rsa_key()
    assert get(http, issuer.token(None, key=issuer.keys["two"])) == 401


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_symmetric_and_weak_keys_in_the_issuers_set_are_left_out(http: httpx2.Client, issuer: Issuer) -> None:
    weak, private, encrypting = rsa_key(1024), rsa_key(), rsa_key()
    secret = b"s" * 32
    issuer.more = [
        {"kty": "oct", "k": b64(secret), "kid": "secret", "alg": "HS256"},
        {"kty": "oct", "k": b64(secret), "kid": "disguised", "alg": "RS256"},
        public_jwk(weak, kid="weak"),
        {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private)), "kid": "private"},
        public_jwk(encrypting, kid="encrypting") | {"use": "enc"},
        {"kty": "RSA", "kid": "broken", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": "typed", "n": 7, "e": None},
        {"kty": "EC", "kid": "off", "crv": "P-256", "x": "AQAB", "y": "AQAB"},
        {"kty": ["RSA"], "kid": "list"},
    ]
    tokens = [
        issuer.token("secret", key=secret, algorithm="HS256", **ADMIN),
        issuer.token("disguised", key=secret, algorithm="HS256", **ADMIN),
        issuer.token("weak", key=weak, **ADMIN),
        issuer.token("private", key=private, **ADMIN),
        issuer.token("encrypting", key=encrypting, **ADMIN),
    ]
    assert [get(http, token) for token in tokens] == [401] * len(tokens)
    assert get(http, issuer.token()) == 200


def test_a_key_is_used_as_the_issuer_says(http: httpx2.Client, issuer: Issuer) -> None:
    bound = rsa_key()
    issuer.more = [public_jwk(bound, kid="bound", alg="PS256")]
    assert get(http, issuer.token("bound", key=bound, algorithm="PS256")) == 200
    assert get(http, issuer.token("bound", key=bound, algorithm="RS256")) == 401


def test_tokens_in_tokens_and_of_other_kinds(http: httpx2.Client, issuer: Issuer) -> None:
    inner, key = issuer.token(**ADMIN), issuer.keys["one"]
    nested = jwt.api_jws.encode(inner.encode(), key, "RS256", {"kid": "one", "cty": "JWT"})
    quoted = jwt.api_jws.encode(json.dumps(inner).encode(), key, "RS256", {"kid": "one", "cty": "JWT"})
    detached = f"{inner.split('.')[0]}..{inner.split('.')[2]}"
    others = [
        nested, quoted, detached, f"{inner}.{inner}", f"{inner}.x.y", inner + "=", inner + ".", "." + inner,
        issuer.token(header={"typ": "logout+jwt"}), issuer.token(header={"typ": 7}),
        issuer.token(header={"crit": ["exp"]}), issuer.token(header={"b64": False, "crit": ["b64"]}),
    ]  # fmt: skip
    assert [get(http, token) for token in others] == [401] * len(others)
    for kind in ("JWT", "at+jwt", "application/at+JWT"):
        assert get(http, issuer.token(header={"typ": kind})) == 200


def test_huge_tokens_are_refused_before_they_are_read(http: httpx2.Client, issuer: Issuer) -> None:
    assert get(http, issuer.token(padding="x" * 10_000)) == 200
    asked = len(issuer.asked)
    assert get(http, issuer.token(padding="x" * 14_000)) == 401
    deep = "[" * 5_000
    assert get(http, f"{b64(deep.encode())}.e30.x") == 401
    assert get(http, f"{b64({'alg': 'RS256', 'kid': 'one'})}.{b64(deep.encode())}.{b64(b'x' * 256)}") == 401
    assert get(http, f"{b64({'alg': 'RS256', 'kid': 'one'})}.{b64(b'9' * 6_000)}.{b64(b'x' * 256)}") == 401
    assert len(issuer.asked) == asked


def test_signed_claims_that_are_no_claims(http: httpx2.Client, issuer: Issuer) -> None:
    """A token may be signed by the issuer and still be nonsense."""
    for payload in (b"[" * 5_000, b"9" * 5_000, b"null", b'"text"', b"[]", b"\xff\xfe", b"{}"):
        token = jwt.api_jws.encode(payload, issuer.keys["one"], "RS256", {"kid": "one"})
        assert get(http, token) == 401, payload[:10]


def test_a_token_belongs_into_one_header(http: httpx2.Client, issuer: Issuer) -> None:
    good, other = issuer.token(), issuer.token(**ADMIN)
    for query in (f"?access_token={good}", f"?token={good}", f"?Authorization=Bearer%20{good}"):
        assert http.get(f"/v1/jobs{query}").status_code == 401
    assert http.get("/v1/jobs", headers={"Cookie": f"access_token={good}"}).status_code == 401
    assert http.get("/v1/jobs", headers={"X-Forwarded-Authorization": f"Bearer {good}"}).status_code == 401
    twice = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {other}")]
    for pairs in (twice, twice[::-1], [twice[0], ("authorization", "Basic x")]):
        refused = http.get("/v1/jobs", headers=pairs)
        assert refused.status_code == 400
        assert refused.json()["type"] == "urn:preceptor:problem:malformed-request"
    joined = {"Authorization": f"Bearer {good}, Bearer {other}"}
    assert http.get("/v1/jobs", headers=joined).status_code == 401


def test_neither_tokens_nor_their_parts_are_logged(
    http: httpx2.Client, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = [issuer.token(), issuer.token(aud="other"), issuer.token("two", key=rsa_key())]
    answers = [http.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}) for token in tokens]
    assert [answer.status_code for answer in answers] == [200, 401, 401]
    seen = "".join(capsys.readouterr()) + "".join(answer.text for answer in answers)
    assert "subject of a token" in seen
    for token in tokens:
        assert not [part for part in token.split(".") if part in seen]
