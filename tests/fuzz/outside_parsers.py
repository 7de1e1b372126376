"""What comes from servers and callers that the service does not know: tokens, keys of issuers, addresses, streams."""

import json
import time
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import ValidationError

from preceptor.contract.webhooks import WebhookBody
from preceptor.core.events import EventDecoder, _event, status_of
from preceptor.errors import UnexpectedAnswerError
from service.actions.webhooks import _refusal
from service.core.api_keys import Scope
from service.network.egress import Egress, insecure_url, is_public
from service.oidc.fetch import LARGEST
from service.oidc.jwt import ALGORITHMS, BadToken, KeySet, unverified_header, verified_claims
from service.oidc.scopes import Grants
from tests.integration.oidc.issuer import b64, public_jwk

from .byte_mutations import damaged, noise
from .case import SOURCE, Files, Outcome, Parser, Reached, single
from .json_mutations import NUMBERS, STRINGS, spoilt, text_of

_ISSUER: Final = "https://login.example"
_AUDIENCE: Final = "preceptor"


@cache
def _other() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(2**200 + 7, ec.SECP256R1())


@cache
def _signer() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@cache
def _keys() -> KeySet:
    return KeySet.of({"keys": [public_jwk(_other(), kid="one"), public_jwk(_signer(), kid="two")]})


def _token(header: Any, claims: Any) -> bytes:
    """A token that is signed rightly, whatever it says; Ed25519 signs the same text the same way each time."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    text = f"{b64(head)}.{b64(body)}".encode()
    return text + b"." + b64(_signer().sign(text)).encode()


_HEADER: Final = {"alg": "EdDSA", "kid": "two", "typ": "at+jwt"}
_CLAIMS: Final = {
    "iss": _ISSUER, "aud": [_AUDIENCE, "other"], "sub": "ada", "iat": 1_000_000_000, "nbf": 1_000_000_000,
    "exp": 4_000_000_000, "scope": "openid preceptor:write", "realm_access": {"roles": ["a", "preceptor-admin"]},
}  # fmt: skip


def _token_seeds() -> list[bytes]:
    return [_token(_HEADER, _CLAIMS), _token({"alg": "EdDSA"}, {**_CLAIMS, "aud": _AUDIENCE})]


def _spoil_token(seeds: list[Files], rng: Random) -> Files:
    """Claims or headers that are spoilt under a right signature; other algorithms; parts lost or doubled."""
    kind = rng.randrange(10)
    if kind < 4:
        return {SOURCE: _token(_HEADER, text_of(spoilt(_CLAIMS, rng, _claim), rng))}
    if kind < 7:
        return {SOURCE: _token(text_of(spoilt(_HEADER, rng, _header), rng), _CLAIMS)}
    data = rng.choice(seeds)[SOURCE]
    if kind == 7:
        parts = data.split(b".")
        place = rng.randrange(3)
        parts[place : place + 1] = rng.choice(([], [b""], [noise(rng)], [parts[place]] * 2, [b"A" * 20_000], [b"===="]))
        return {SOURCE: b".".join(parts)}
    return {SOURCE: damaged(data, rng, [files[SOURCE] for files in seeds])}


def _claim(rng: Random) -> Any:
    return rng.choice(
        (_ISSUER, f"{_ISSUER}/", _AUDIENCE, [], [None], [[_AUDIENCE]], {"aud": 1}, 10**400, -(10**18), 1e300, "1e9",
         int(time.time()), "a" * 300, "a\nb", *STRINGS, *NUMBERS[:20])
    )  # fmt: skip


def _header(rng: Random) -> Any:
    return rng.choice(
        ("none", "HS256", "RS256", "eddsa", *ALGORITHMS, ["EdDSA"], {"kty": "oct", "k": "AA"}, "one", "JWT", "b64",
         False, ["b64", "x"], "k" * 600, "logout+jwt", "application/at+jwt", 7)
    )  # fmt: skip


def _short(text: str) -> None:
    assert 5 < len(text) < 300, f"a text of {len(text)} characters"


def _checked(files: Files, folder: Path) -> Reached:
    text = files[SOURCE].decode("latin1")
    stage = "not read"
    try:
        kid, algorithm = unverified_header(text)
        stage = "named a key"
        key = _keys().find(kid, algorithm)
        if key is None:
            return Reached("refused", stage)
        stage = "signature checked"
        claims = verified_claims(text, key, algorithm, issuer=_ISSUER, audiences=[_AUDIENCE], leeway=5.0)
    except BadToken as error:
        _short(str(error))
        return Reached("refused", stage)
    assert claims["iss"] == _ISSUER
    assert isinstance(claims["sub"], str)
    assert claims["exp"] > time.time() - 10
    _grants().scope(claims)
    return Reached("accepted", "let in")


@cache
def _grants() -> Grants:
    values: dict[Scope, frozenset[str]] = {
        "read": frozenset({"r"}),
        "write": frozenset({"w", "preceptor:write"}),
        "admin": frozenset({"x"}),
    }
    return Grants("realm_access.roles", values)


def _scope(files: Files, folder: Path) -> Outcome:
    """Claims of any form allow what they name, and never raise."""
    value: Any = None
    for claim in ("scope", "realm_access.roles", "a.b.c", "", "."):
        try:
            value = json.loads(files[SOURCE])
        except (ValueError, RecursionError):
            return "refused"
        if not isinstance(value, dict):
            return "refused"
        found = Grants(claim, _grants().values).scope(value)
        # A scope is given only where the very word stands in the claims.
        assert found is None or any(word.encode() in json.dumps(value).encode() for word in _grants().values[found])
    return "accepted"


def _spoil_claims(seeds: list[Files], rng: Random) -> Files:
    words = (["r"], ["w", "x"], "r w", "rw", {"roles": ["x"]}, [["x"]], "x\u00a0r", {"x": "x"}, ["X"], 7)
    return {SOURCE: text_of(spoilt(_CLAIMS, rng, lambda rng: rng.choice(words)), rng)}


def _jwk_seeds() -> list[bytes]:
    rsa: dict[str, Any] = {"kty": "RSA", "kid": "three", "use": "sig", "alg": "RS256", "e": "AQAB"}
    rsa["n"] = b64(b"\xc5" + bytes(range(1, 256)))
    keys = [public_jwk(_other(), kid="one"), public_jwk(_signer(), kid="two"), rsa]
    return [json.dumps({"keys": keys}).encode()]


def _spoil_jwk(seeds: list[Files], rng: Random) -> Files:
    value = json.loads(rng.choice(seeds)[SOURCE])
    if rng.random() < 0.1:
        value["keys"] = value["keys"] * rng.choice((60, 70, 3000))
    return {SOURCE: text_of(spoilt(value, rng, _jwk_part), rng)[:LARGEST]}  # what is longer is not read


def _jwk_part(rng: Random) -> Any:
    return rng.choice(
        ("RSA", "EC", "OKP", "oct", "P-256", "P-521", "secp256k1", "Ed448", "X25519", "enc", ["verify"], ["sign"],
         {"verify": 1}, "AQAB", "Aw", "", "A", "A" * 100_000, "====", "\x00", "AAAA" * 300, b64(bytes(256)), "RS256",
         "none", ["RS256"], b64(b"\xff" * 2048))
    )  # fmt: skip


def _key_set(files: Files, folder: Path) -> Outcome:
    try:
        document = json.loads(files[SOURCE])
    except (ValueError, RecursionError):
        return "refused"
    if not isinstance(document, dict):
        return "refused"
    try:
        keys = KeySet.of(document)
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        return "refused"
    for algorithm in (*ALGORITHMS, "none", "HS256"):
        for kid in ("one", "two", "three", None, ""):
            found = keys.find(kid, algorithm)
            assert found is None or (algorithm in found.algorithms and algorithm in ALGORITHMS)
    return "accepted"


def _stream_seeds() -> list[bytes]:
    event = {
        "event": "status", "id": "1-0", "at": "2026-01-01T00:00:00Z", "job": f"rec_{'0' * 26}",
        "data": {"status": "running"},
    }  # fmt: skip
    text = json.dumps(event)
    one = f": ping\n\nid: 1-0\nevent: status\ndata: {text}\n\n"
    two = f"data: {text[:20]}\r\ndata: {text[20:]}\r\n\r\nretry: 5\r\rdata\n\n"
    return [(one * 2 + two).encode(), b"\xef\xbb\xbf" + two.encode()]


def _spoil_stream(seeds: list[Files], rng: Random) -> Files:
    data = rng.choice(seeds)[SOURCE]
    if rng.random() < 0.5:
        return {SOURCE: damaged(data, rng, [files[SOURCE] for files in seeds])}
    lines = [b"data: " + text_of(spoilt(json.loads(_event_text(seeds)), rng), rng)]
    lines += rng.choices((b"", b"data", b"data:", b"id: \x00", b":", b"data: x", b"\xff\xff", b"retry: -1"), k=4)
    rng.shuffle(lines)
    return {SOURCE: rng.choice((b"\n", b"\r", b"\r\n")).join([*lines, b"", b""])}


def _event_text(seeds: list[Files]) -> bytes:
    return next(line for line in seeds[0][SOURCE].split(b"\n") if line.startswith(b"data: ")).removeprefix(b"data: ")


def _stream(files: Files, folder: Path) -> Outcome:
    """Cut at any place, the same events; what is no event of ours is said to be none."""
    data = files[SOURCE]
    rng = Random(len(data))
    whole, cut = EventDecoder(), EventDecoder()
    try:
        expected = whole.feed(data + b"\n")
        found: list[str] = []
        place = 0
        while place < len(data):
            size = rng.choice((1, 2, 7, 100, 10_000))
            found += cut.feed(data[place : place + size])
            place += size
        found += cut.feed(b"\n")
    except UnexpectedAnswerError:
        return "refused"
    assert found == expected, f"{len(found)} events of a stream in pieces, {len(expected)} of the whole"
    outcome: Outcome = "accepted"
    for text in expected:
        try:
            status_of(_event(text))
        except UnexpectedAnswerError:
            outcome = "refused"
    return outcome


_ADDRESSES: Final = (
    "https://example.com/hooks/preceptor",
    "http://8.8.8.8:8080/x?y=z",
    "https://[2606:4700::1111]/",
    "https://hooks.internal:8443/a",
)
_HOSTS: Final = (
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "[::1]", "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]", "[fe80::1%25eth0]", "[fe80::1]", "169.254.169.254", "localhost.", "a.localhost", "127.0.0.1.",
    "[::]", "[2002:7f00:1::]", "example.com%00.x", "１２７.0.0.1", "ⓛocalhost", "user@127.0.0.1", "a" * 64 + ".com",
    "a" * 300, "10.0.0.1", "[::ffff:0:0]", "100.64.0.1", "0.0.0.0", "255.255.255.255", "hooks.internal", "[1::1::1]",
    "1.1.1.1#@10.0.0.1", "[::1", "xn--a", "xn--", "-", "_", "..", "[v1.x]", "224.0.0.1", "8.8.8.8",
)  # fmt: skip


def _spoil_address(seeds: list[Files], rng: Random) -> Files:
    text = rng.choice(seeds)[SOURCE].decode()
    kind = rng.randrange(6)
    host = (urlsplit(text).netloc) or "x"
    if kind < 3:
        text = text.replace(host, rng.choice(_HOSTS) + rng.choice(("", "", ":80", ":65536", ":0", ":", ":1e3")))
    elif kind == 3:
        text = text.replace("https:", rng.choice(("ftp:", "HTTPS:", "https:/", "", "//", "javascript:", "https:\\\\")))
    elif kind == 4:
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.choice(STRINGS) + text[place:]
    else:
        return {SOURCE: damaged(text.encode(), rng, [files[SOURCE] for files in seeds])}
    return {SOURCE: text.encode("utf-8", "surrogatepass")}


_EGRESS: Final = Egress.of("hooks.internal, 10.9.0.0/16")


def _address(files: Files, folder: Path) -> Reached:
    """An address that is taken never is, in any spelling, one of this machine or of its network."""
    text = files[SOURCE].decode("utf-8", "replace")
    insecure_url(text)
    try:
        body = WebhookBody.model_validate({"url": text})
    except ValidationError:
        return Reached("refused", "not of the form")
    reason = _refusal(body.url, _EGRESS)
    if reason is not None:
        assert 10 < len(reason) < 2500
        return Reached("refused", "of the form")
    host = (urlsplit(body.url).hostname or "").rstrip(".")
    assert host
    assert not host.endswith("localhost"), host
    try:
        known = ip_address(host)
    except ValueError:
        return Reached("accepted", "taken by its name")
    assert is_public(known) or _EGRESS.permits(known), host
    return Reached("accepted", "taken by its address")


PARSERS: Final = [
    Parser("token", lambda: single(_token_seeds()), _spoil_token, _checked),
    Parser("issuer keys", lambda: single(_jwk_seeds()), _spoil_jwk, _key_set),
    Parser("grants", lambda: single([json.dumps(_CLAIMS).encode()]), _spoil_claims, _scope),
    Parser("event stream", lambda: single(_stream_seeds()), _spoil_stream, _stream),
    Parser("webhook address", lambda: single([text.encode() for text in _ADDRESSES]), _spoil_address, _address),
]
