"""The scope of a token, from the values of one of its claims. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from service.core.api_keys import SCOPES, Scope
from service.core.settings import Settings, listed


@dataclass(frozen=True)
class Grants:
    """The claim to read, and the claim values that grant each scope."""

    claim: str
    values: Mapping[Scope, frozenset[str]]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """From the settings."""
        given: dict[Scope, str] = {
            "read": settings.oidc_read,
            "write": settings.oidc_write,
            "admin": settings.oidc_admin,
        }
        return cls(settings.oidc_scope_claim, {scope: frozenset(listed(text)) for scope, text in given.items()})

    def scope(self, claims: Mapping[str, Any]) -> Scope | None:
        """The largest scope that the claims grant; None if they grant none."""
        found = _words(_value(claims, self.claim))
        return next((scope for scope in reversed(SCOPES) if found & self.values[scope]), None)


def _value(claims: Mapping[str, Any], name: str) -> Any:
    # Some issuers use URLs as claim names: an exact match takes precedence over a path.
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _words(value: Any) -> frozenset[str]:
    """`scope` is a string of words separated by spaces (RFC 6749, 3.3); groups and roles are lists."""
    if isinstance(value, str):
        return frozenset(value.split())
    if isinstance(value, list):
        return frozenset(entry for entry in value if isinstance(entry, str))
    return frozenset()
