"""The names under which the service may be called, for the time in which it asks for no API keys.

Who can open a web page in the operator's browser can make it send requests to this machine. A name of the page's own
that leads to a loopback address (DNS rebinding) makes the answers readable too. Both show in headers that a page cannot
change: `Host`, `Origin`, `Sec-Fetch-Site`.
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
    """Names and addresses that the service answers to, besides `localhost` and all loopback addresses.

    Attributes
    ----------
    names
        In lower case, without ports; addresses as `ipaddress` writes them.
    every
        Whether any name will do.
    """

    names: frozenset[str] = frozenset()
    every: bool = False

    @classmethod
    def of(cls, text: str | None, *more: str | None) -> Self:
        """Read the setting: host names and addresses with commas between them, or `*`.

        Parameters
        ----------
        text
            The setting.
        more
            Addresses that the service has anyway; those that are none are left out.

        Raises
        ------
        ValueError
            An entry of the setting is no name and no address.
        """
        entries = {part.strip() for part in (text or "").split(",")} - {""}
        names = {_plain(entry) for entry in entries - {_EVERY}}
        for entry in names:
            if not _is_address(entry) and not _NAME.fullmatch(entry):
                raise ValueError(
                    f"{entry!r} is no host name. Write names and addresses without scheme and port, with commas "
                    "between them, or `*` for any"
                )
        return cls(frozenset(names | {_plain(entry) for entry in more if entry}), _EVERY in entries)

    def accepts(self, authority: str) -> bool:
        """Whether a `Host` header, with or without a port, names this service."""
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            return False
        host = _plain(found[1])
        return self.every or host in self.names or is_loopback(host)

    def accepts_origin(self, origin: str) -> bool:
        """Whether an `Origin` header tells of a page that this service, or a neighbour under its name, has served."""
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
