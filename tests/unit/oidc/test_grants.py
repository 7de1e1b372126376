"""From claims to a scope: the shapes in which issuers tell what a token allows."""

from typing import Any

import pytest

from service.core.settings import Settings
from service.oidc.scopes import Grants

ISSUER: dict[str, Any] = {"oidc_issuer": "https://id.example.org", "oidc_audience": "us"}


def grants(**settings: str) -> Grants:
    return Grants.of(Settings(**ISSUER, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("claim", "claims", "scope"),
    [
        ("scope", {"scope": "a preceptor:read b"}, "read"),
        ("scope", {"scope": "preceptor:admin preceptor:read"}, "admin"),
        ("scope", {"scope": ["preceptor:write"]}, "write"),
        ("scope", {"scope": ["preceptor:write preceptor:admin"]}, None),
        ("scope", {"scope": "preceptor:read,preceptor:write"}, None),
        ("scope", {"scp": "preceptor:read"}, None),
        ("scp", {"scp": "preceptor:read"}, "read"),
        ("realm_access.roles", {"realm_access": {"roles": ["preceptor:write"]}}, "write"),
        ("realm_access.roles", {"realm_access": ["roles"]}, None),
        ("realm_access.roles", {"realm_access": None}, None),
        ("https://x.org/roles", {"https://x.org/roles": ["preceptor:admin"]}, "admin"),
        ("a.b", {"a.b": "preceptor:read", "a": {"b": "preceptor:admin"}}, "read"),
        ("scope", {"scope": None}, None),
        ("scope", {"scope": {"preceptor:admin": True}}, None),
        ("scope", {"scope": [["preceptor:admin"], 7, None]}, None),
        ("scope", {"scope": ""}, None),
        ("scope", {}, None),
    ],
)
def test_scope_of_claims(claim: str, claims: dict[str, Any], scope: str | None) -> None:
    assert grants(oidc_scope_claim=claim).scope(claims) == scope


def test_the_operators_own_values() -> None:
    own = grants(oidc_scope_claim="groups", oidc_read="staff, guests", oidc_write="ml", oidc_admin="")
    assert own.scope({"groups": ["guests"]}) == "read"
    assert own.scope({"groups": ["ml", "staff"]}) == "write"
    assert own.scope({"groups": ["", "preceptor:admin"]}) is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"oidc_issuer": "http://id.example.org"}, "must begin with https://"),
        ({"oidc_issuer": "id.example.org"}, "not a URL"),
        ({"oidc_issuer": "https://user:pw@id.example.org"}, "user name"),
        ({"oidc_issuer": "https://id.example.org/#x"}, "fragment"),
        ({"oidc_issuer": "https://id.example.org/?realm=x"}, "query"),
        ({"oidc_issuer": "https://id.example.org:port"}, "not a URL"),
        ({"oidc_issuer": "ftp://127.0.0.1"}, "not a URL"),
        ({"oidc_issuer": "https://id.example.org", "oidc_audience": " , "}, "PRECEPTOR_OIDC_AUDIENCE"),
        ({"oidc_issuer": "https://id.example.org", "oidc_audience": None}, "PRECEPTOR_OIDC_AUDIENCE"),
        ({"auth": "off"}, "PRECEPTOR_AUTH=on"),
        ({"oidc_leeway_seconds": 301}, "300"),
        ({"oidc_scope_claim": ""}, "at least 1"),
    ],
)
def test_settings_that_would_open_a_hole_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Settings(**{**ISSUER, **given})


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:8080/realms/x", "http://[::1]:1", "https://id.example.org/"])
def test_issuers_that_are_taken(issuer: str) -> None:
    assert Settings(oidc_issuer=issuer, oidc_audience="us").oidc_issuer == issuer
