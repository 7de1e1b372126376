"""Signatures and claims of tokens, and the issuer's keys. The only module that imports the token library.

The permitted algorithms are decided here and by the issuer's key, never by the token (RFC 8725, 2.1 and 3.1): only
asymmetric algorithms, and for each key only those of its type. Keys come only from the issuer's document; keys that a
token contains or points to (`jwk`, `jku`, `x5c`, `x5u`) are ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import jwt
from jwt.algorithms import AllowedPublicKeys
from jwt.exceptions import InvalidSubjectError

LONGEST: Final = 16 * 1024
"""Maximum length of a token in characters."""

_MOST_KEYS: Final = 200
_LONGEST_RSA: Final = 8192
_LONGEST_KID: Final = 512
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE: Final = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",)}
ALGORITHMS: Final = (*_RSA, "ES256", "ES384", "ES512", "EdDSA")
_TYPES: Final = frozenset({"", "jwt", "at+jwt"})
"""Accepted token types (`typ`). Others, such as logout tokens, do not grant access (RFC 8725, 3.11)."""

_NEEDED: Final = ["iss", "aud", "sub", "exp"]
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (jwt.ExpiredSignatureError, "it has expired"),
    (jwt.ImmatureSignatureError, "it is not valid yet"),
    (jwt.InvalidAudienceError, "it is issued for another audience"),
    (jwt.InvalidIssuerError, "it comes from another issuer"),
    (jwt.InvalidSignatureError, "its signature is wrong"),
    (InvalidSubjectError, "its subject is not a string"),
)


class BadToken(Exception):
    """A token that does not grant access; the message completes "The token is rejected: ..." and does not quote it."""


@dataclass(frozen=True)
class Key:
    """One public key of the issuer, and the algorithms that it may be used with."""

    public: AllowedPublicKeys
    algorithms: tuple[str, ...]


class KeySet:
    """The issuer's keys, from a JWK set (RFC 7517)."""

    def __init__(self, keys: dict[str | None, list[Key]]) -> None:
        self._keys = keys

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Parse a JWK set. Unusable keys are skipped: a set may contain keys for other purposes.

        Raises
        ------
        ValueError
            It is not a JWK set, has too many keys, or has no usable key.
        """
        entries = document.get("keys")
        if not isinstance(entries, list):
            raise ValueError("it has no list of `keys`")
        if len(entries) > _MOST_KEYS:
            raise ValueError(f"it has {len(entries):,} keys; at most {_MOST_KEYS} are accepted")
        keys: dict[str | None, list[Key]] = {}
        for entry in entries:
            key = _key(entry)
            if key is not None:
                kid = entry.get("kid")
                keys.setdefault(kid if isinstance(kid, str) else None, []).append(key)
        if not keys:
            raise ValueError("it has no public key for signatures that is RSA, P-256, P-384, P-521 or Ed25519")
        return cls(keys)

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that a token names. Without a key id, the only key for the algorithm, if there is exactly one."""
        if kid is not None:
            return next((key for key in self._keys.get(kid, ()) if algorithm in key.algorithms), None)
        fitting = [key for keys in self._keys.values() for key in keys if algorithm in key.algorithms]
        return fitting[0] if len(fitting) == 1 else None


def _key(entry: Any) -> Key | None:
    """One entry of a JWK set; None if it is not a public signature key of an accepted type."""
    if not isinstance(entry, dict) or "d" in entry or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    kind, curve = entry.get("kty"), entry.get("crv")
    if kind == "RSA":
        fitting = _RSA
    elif (kind == "EC" and curve in ("P-256", "P-384", "P-521")) or (kind == "OKP" and curve == "Ed25519"):
        fitting = _BY_CURVE[curve]
    else:
        return None
    if "alg" in entry:
        fitting = tuple(algorithm for algorithm in fitting if algorithm == entry["alg"])
    if not fitting:
        return None
    try:
        public = jwt.PyJWK(entry, fitting[0]).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if kind == "RSA" and not 2048 <= public.key_size <= _LONGEST_RSA:
        return None
    return Key(public, fitting)


def unverified_header(text: str) -> tuple[str | None, str]:
    """The key id (`kid`) and the algorithm in a token's header. Neither is verified.

    Raises
    ------
    BadToken
    """
    if len(text) > LONGEST:
        raise BadToken(f"it is longer than {LONGEST:,} characters")
    try:
        header = jwt.get_unverified_header(text)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise BadToken("it cannot be read as a signed JSON Web Token") from error
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
    if algorithm not in ALGORITHMS:
        raise BadToken(f"its algorithm is not accepted; the issuer must sign with one of {', '.join(ALGORITHMS)}")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise BadToken("its type (`typ`) is not that of an access token")
    if kid is not None and len(kid) > _LONGEST_KID:
        raise BadToken("its key id is too long")
    return kid, algorithm


def verified_claims(
    text: str, key: Key, algorithm: str, *, issuer: str, audiences: Sequence[str], leeway: float
) -> dict[str, Any]:
    """The claims of a token, after verifying signature, issuer, audience and time.

    Raises
    ------
    BadToken
    """
    if algorithm not in key.algorithms:
        raise BadToken("its algorithm does not belong to its key")
    try:
        return jwt.decode(
            text,
            key.public,
            algorithms=[algorithm],
            issuer=issuer,
            audience=audiences,
            leeway=leeway,
            options={"require": _NEEDED, "enforce_minimum_key_length": True},
        )
    except jwt.MissingRequiredClaimError as error:
        raise BadToken(f"it lacks the claim `{error.claim}`") from error
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        reason = next((words for kind, words in _REASONS if isinstance(error, kind)), "its claims cannot be read")
        raise BadToken(reason) from error
