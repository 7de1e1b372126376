"""An issuer of tokens: a real HTTP server on a socket, with keys made here, that answers as it is told."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
AUDIENCE = "preceptor"
DISCOVERY = "/.well-known/openid-configuration"


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def first_key() -> rsa.RSAPrivateKey:
    """The key that every issuer starts with: made once, since that takes a while."""
    return rsa_key()


def public_jwk(key: Private, **members: Any) -> dict[str, Any]:
    """The public half as an entry of a JWK set."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        entry = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        entry = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        entry = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
    entry.pop("key_ops", None)
    return {**entry, "use": "sig", **members}


def public_pem(key: Private) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def b64(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """What the server answers with, and what it was asked.

    Attributes
    ----------
    keys
        Private keys by their id, as the JWK set names them.
    more
        Further entries of the JWK set.
    answers
        Answers in the place of the usual ones, by path: a status and headers, or a body.
    asked
        Paths of all requests.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.keys: dict[str, Private] = {}
        self.more: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[int, dict[str, str]] | bytes] = {}
        self.asked: list[str] = []
        self.jwks_uri = f"{self.url}/keys"

    def body(self, path: str) -> bytes | None:
        if path == DISCOVERY:
            return json.dumps({"issuer": self.url, "jwks_uri": self.jwks_uri}).encode()
        if path == "/keys":
            entries = [public_jwk(key, kid=kid) for kid, key in self.keys.items()]
            return json.dumps({"keys": [*self.more, *entries]}).encode()
        return None

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Claims of a good token; a value of None removes a claim."""
        moment = int(time.time())
        claims = {
            "iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": moment, "nbf": moment, "exp": moment + 300,
            "scope": "openid preceptor:write", **changed,
        }  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, kid: str | None = "one", *, key: Any = None, algorithm: str = "RS256", header: Any = None, **changed: Any
    ) -> str:
        """A token, signed with the key of this id where no other is given."""
        headers = {**({} if kid is None else {"kid": kid}), **(header or {})}
        return jwt.encode(self.claims(**changed), key or self.keys[str(kid)], algorithm, headers)


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Serve an issuer with one RSA key, `one`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            said = issuer.answers.get(self.path)
            if isinstance(said, tuple):
                self.send_response(said[0])
                for name, value in said[1].items():
                    self.send_header(name, value)
                self.end_headers()
                return
            body = said if said is not None else issuer.body(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        issuer = Issuer(server.server_address[1])
        issuer.keys["one"] = first_key()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join(10)
