"""Names that the service answers to while it does not require API keys.

A web page in the operator's browser can send requests to this machine. With a host name of the page's site that
resolves to a loopback address (DNS rebinding), it could also read the responses. Both are visible in headers that a
page cannot change: `Host`, `Origin`, `Sec-Fetch-Site`.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Self

from service.network.egress import is_loopback

_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_AUTHORITY: Final = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(:[0-9]{0,5})?")
_EVERY: Final = "*"


@dataclass(frozen=True)
class Hosts:
    """Names and addresses that the service answers to, in addition to `localhost` and all loopback addresses.

    Attributes
    ----------
    names
        In lower case, without ports; addresses in the notation of `ipaddress`.
    every
        Whether every name is accepted.
    """

    names: frozenset[str] = frozenset()
    every: bool = False

    @classmethod
    def of(cls, text: str | None, *more: str | None) -> Self:
        """Parse the setting: host names and addresses separated by commas, or `*`.

        Parameters
        ----------
        text
            The setting.
        more
            Further addresses of the service; invalid ones are ignored.

        Raises
        ------
        ValueError
            An entry of the setting is neither a name nor an address.
        """
        entries = {part.strip() for part in (text or "").split(",")} - {""}
        names = {_plain(entry) for entry in entries - {_EVERY}}
        for entry in names:
            if not _is_address(entry) and not _NAME.fullmatch(entry):
                raise ValueError(
                    f"{entry!r} is not a host name. Write names and addresses without scheme and port, separated by "
                    "commas, or `*` for any"
                )
        return cls(frozenset(names | {_plain(entry) for entry in more if entry}), _EVERY in entries)

    def accepts(self, authority: str) -> bool:
        """Whether a `Host` header, with or without port, names this service."""
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            return False
        host = _plain(found[1])
        return self.every or host in self.names or is_loopback(host)

    def accepts_origin(self, origin: str) -> bool:
        """Whether an `Origin` header is of a page served by this service, or on another port under its name."""
        scheme, separator, authority = origin.partition("://")
        return bool(separator) and scheme in ("http", "https") and self.accepts(authority)


def _plain(host: str) -> str:
    text = host.strip("[]").lower().removesuffix(".")
    return str(ip_address(text)) if _is_address(text) else text


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
