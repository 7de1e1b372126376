"""Where the service itself may connect to: public addresses, and what the operator has listed.

An address from outside must not make the service speak to its own network (server-side request forgery). The name is
resolved once, all its addresses are checked, and the connection goes to a checked address: a second resolution could
give another one (DNS rebinding).
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
"""NAT64: the last 32 bits are the IPv4 address that is meant."""

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
        "2001::/23",  # Protocol assignments, with Teredo, which wraps IPv4 addresses.
        "2001:db8::/32",
        "2002::/16",  # 6to4, which wraps them too.
        "3fff::/20",
    )
)
"""Of the special-purpose registries of IANA (RFC 6890 and later), what lies inside of 2000::/3."""


class Refused(Exception):
    """The connection is not made; the message says why."""


def is_public(address: Address) -> bool:
    """Whether an address belongs to a host of the public Internet.

    Written as lists, not as `is_global`: what that covers differs between versions of Python.
    """
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address in _TRANSLATED:
        return is_public(IPv4Address(address.packed[-4:]))
    return address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_6)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def insecure_url(url: str) -> str | None:
    """Why a document must not be fetched from a URL when trust rests on it; None where it may be.

    What comes over plain HTTP can be changed on the way, except where there is no way.
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
        return "it must begin with https:// (http:// is for this machine alone): else others can change the answer"
    return None


class Resolver:
    """The system's resolver, in threads of its own: a name server that hangs must not take those of the service."""

    def __init__(self) -> None:
        self._threads = anyio.CapacityLimiter(_LOOK_UPS)

    async def __call__(self, host: str, port: int) -> list[str]:
        """The addresses of a host. Who is cancelled leaves the thread to itself."""

        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))

        try:
            return await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._threads)
        except (OSError, UnicodeError) as error:
            raise Refused(f"the name {host!r} cannot be resolved") from error


@dataclass(frozen=True)
class Egress:
    """What is allowed besides public addresses.

    Attributes
    ----------
    hosts
        Names in lower case, whose addresses may be any.
    networks
        Addresses that any name may have.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, text: str | None) -> Self:
        """Read the setting: host names, addresses and networks with commas between them.

        Raises
        ------
        ValueError
            An entry is none of these.
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
                        "10.0.0.0/8 (no bit set behind the mask), with commas between them"
                    ) from error
                hosts.add(entry)
        return cls(frozenset(hosts), tuple(networks))

    def lists(self, host: str) -> bool:
        """Whether a host is allowed by its name."""
        return host.lower().rstrip(".") in self.hosts

    def permits(self, address: Address) -> bool:
        """Whether a connection to an address may be made."""
        return is_public(address) or any(address in network for network in self.networks)

    async def addresses(self, host: str, port: int, look_up: Resolve) -> list[str]:
        """The addresses to connect to, in the resolver's order.

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
        """Why a host can be refused without a look-up: it is, in any spelling, an address that is not permitted."""
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
        f"{what} is not a public address. Where that is meant, the operator lists the host or its network in "
        "PRECEPTOR_EGRESS_ALLOW"
    )


_CONNECT_SECONDS: Final = 4.0
"""For one address; where it does not answer there is time for another."""


class GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Connections to checked addresses. HTTP above goes on with the name: for `Host`, and as TLS server name."""

    def __init__(self, egress: Egress, look_up: Resolve) -> None:
        self._egress = egress
        self._look_up = look_up
        self._network = cast(httpcore2.AsyncNetworkBackend, httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  The interface has it.
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a host that answers.

        Raises
        ------
        Refused
            Before anything was sent: the host, or one of its addresses, is not permitted.
        """
        failure: Exception = httpcore2.ConnectError("no address answers")
        for address in await self._egress.addresses(host, port, self._look_up):
            try:
                return await self._network.connect_tcp(address, port, _CONNECT_SECONDS, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure
