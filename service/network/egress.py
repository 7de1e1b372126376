"""Addresses that the service may connect to: public ones, and those that the operator has listed.

An address from untrusted input must not make the service connect to its own network (server-side request forgery). The
name is resolved once, all its addresses are checked, and the connection is made to a checked address: a second
resolution could return a different one (DNS rebinding). Own code: HTTP clients resolve a name themselves when they
connect, and none checks the address that it then uses.
"""

import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, Self, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpcore2

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]

_LOOK_UPS: Final = 32
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""NAT64: the last 32 bits are the IPv4 address."""

_NOT_PUBLIC_4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # Protocol assignments, including Teredo, which embeds IPv4 addresses.
        "2001:db8::/32",
        "2002::/16",  # 6to4, which embeds them, too.
        "3fff::/20",
    )
)
"""The entries of IANA's special-purpose registries (RFC 6890 and later) inside 2000::/3."""


class Refused(Exception):
    """The connection is not permitted or not possible; the message states why."""


def is_public(address: Address) -> bool:
    """Whether an address belongs to a host on the public Internet.

    Listed explicitly: the result of `is_global` differs between Python versions.
    """
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address in _TRANSLATED:
        return is_public(IPv4Address(address.packed[-4:]))
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_6)


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def insecure_url(url: str) -> str | None:
    """Why a document that trust depends on must not be fetched from a URL; None if it may be.

    Plain HTTP can be changed in transit, except on the loopback interface.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is not a URL"
    if parts.scheme not in ("https", "http") or not host or not url.isascii() or not url.isprintable() or " " in url:
        return "it is not a URL that begins with https://"
    if parts.username is not None or parts.password is not None or "#" in url:
        return "it must not carry a user name, a password or a fragment"
    if parts.scheme == "http" and not is_loopback(host):
        return "it must begin with https:// (http:// is allowed for loopback addresses only)"
    return None


class Resolver:
    """The system's resolver, in dedicated threads: a hanging name server must not block those of the service."""

    def __init__(self) -> None:
        self._threads = anyio.CapacityLimiter(_LOOK_UPS)

    async def __call__(self, host: str, port: int) -> list[str]:
        """The addresses of a host. A cancelled call abandons its thread."""

        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))

        try:
            return await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._threads)
        except (OSError, UnicodeError) as error:
            raise Refused(f"the name {host!r} cannot be resolved") from error


@dataclass(frozen=True)
class Egress:
    """Permitted destinations besides public addresses.

    Attributes
    ----------
    hosts
        Host names in lower case; they may have any address.
    networks
        Networks that any host may be in.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, text: str | None) -> Self:
        """Parse the setting: host names, addresses and networks, separated by commas.

        Raises
        ------
        ValueError
            An entry is neither a host name nor a network.
        """
        hosts: set[str] = set()
        networks: list[IPv4Network | IPv6Network] = []
        for entry in filter(None, (part.strip().lower() for part in (text or "").split(","))):
            try:
                networks.append(ip_network(entry))
            except ValueError as error:
                if "/" in entry or not _HOST.fullmatch(entry) or entry.rpartition(".")[2].isdigit():
                    raise ValueError(
                        f"{entry!r} is neither a host name nor a network. Write names, addresses or networks such as "
                        "10.0.0.0/8 (no bit set behind the mask), separated by commas"
                    ) from error
                hosts.add(entry)
        return cls(frozenset(hosts), tuple(networks))

    def lists(self, host: str) -> bool:
        """Whether a host is permitted by name."""
        return host.lower().rstrip(".") in self.hosts

    def permits(self, address: Address) -> bool:
        """Whether connections to an address are permitted."""
        return is_public(address) or any(address in network for network in self.networks)

    async def addresses(self, host: str, port: int, look_up: Resolve) -> list[str]:
        """The addresses of a host to connect to, in the resolver's order.

        Raises
        ------
        Refused
            The name cannot be resolved, or one of its addresses is not permitted.
        """
        found = await look_up(host, port)
        if not found:
            raise Refused(f"the name {host!r} has no address")
        if not self.lists(host):
            for text in found:
                if not self.permits(ip_address(text)):
                    raise Refused(_refusal(host, text))
        return found

    def refuses(self, host: str) -> str | None:
        """Why a host is rejected without resolution: it is, in any notation, an address that is not permitted."""
        name = host.lower().rstrip(".")
        if self.lists(name):
            return None
        if name == "localhost" or name.endswith(".localhost"):
            text = "127.0.0.1"
        else:
            try:
                found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            except (OSError, UnicodeError):
                return None
            text = str(found[0][4][0])
        return None if self.permits(ip_address(text)) else _refusal(host, text)


def _refusal(host: str, address: str) -> str:
    what = address if host == address else f"{host} is {address}, which"
    return (
        f"{what} is not a public address. If this is intended, the operator adds the host or its network to "
        "PRECEPTOR_EGRESS_ALLOW"
    )


_CONNECT_SECONDS: Final = 4.0
"""For one address, which leaves time for another one if the first does not answer."""


class GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Connections to checked addresses. The HTTP layer above still uses the name, for `Host` and TLS server name."""

    def __init__(self, egress: Egress, look_up: Resolve) -> None:
        self._egress = egress
        self._look_up = look_up
        self._network = cast(httpcore2.AsyncNetworkBackend, httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  Part of the interface.
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a host that answers.

        Raises
        ------
        Refused
            The host, or one of its addresses, is not permitted. Nothing was sent.
        """
        failure: Exception = httpcore2.ConnectError("no address answers")
        for address in await self._egress.addresses(host, port, self._look_up):
            try:
                return await self._network.connect_tcp(address, port, _CONNECT_SECONDS, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure
