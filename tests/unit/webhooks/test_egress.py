"""The guard of outgoing connections: what is public, in how many spellings what is not, and what the operator lists."""

import ipaddress
import socket

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from service.core.settings import Settings
from service.network.egress import Egress, Refused, Resolver, is_public

pytestmark = pytest.mark.anyio


def words(text: str) -> list[str]:
    return text.split()


INSIDE = words("""
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1
203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::1
100::1 2001::1 2001:0:7f00:1:: 2001:2::1 2001:db8::1 2002:7f00:1:: 2002:a00:1:: 3fff::1 5f00::1 fc00::1
fd12:3456::1 fe80::1 fe80::1%1 febf::1 fec0::1 ff02::1 ff0e::1
""")
OUTSIDE = words("""
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
2001:200::1 2606:4700::1111 2a00:1450::1 64:ff9b::8.8.8.8
""")


@pytest.mark.parametrize("text", INSIDE)
def test_what_is_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", OUTSIDE)
def test_what_is_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@given(st.ip_addresses())
def test_it_is_never_wider_than_pythons_own_list(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if is_public(address) and address not in ipaddress.ip_network(
        "64:ff9b::/96" if address.version == 6 else "0.0.0.0/32"
    ):
        assert address.is_global
        for kind in ("multicast", "reserved", "loopback", "link_local", "private"):
            assert not getattr(address, f"is_{kind}"), kind


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A private IPv4 address, written in one of the ways that resolvers take."""
    network = ipaddress.ip_network(
        draw(st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"]))
    )
    number = int(network[0]) + draw(st.integers(0, network.num_addresses - 1))
    a, b, c, d = number.to_bytes(4, "big")
    forms = [
        f"{a}.{b}.{c}.{d}", f"{a}.{b}.{c << 8 | d}", f"{a}.{b << 16 | c << 8 | d}", str(number), hex(number),
        f"0{number:o}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0x{number:08X}",
        f"::ffff:{a}.{b}.{c}.{d}", f"::ffff:{number >> 16:x}:{number & 65535:x}", f"::{a}.{b}.{c}.{d}",
        f"64:ff9b::{a}.{b}.{c}.{d}", f"2002:{number >> 16:x}:{number & 65535:x}::1",
    ]  # fmt: skip
    return draw(st.sampled_from(forms))


@given(spellings())
def test_no_spelling_of_a_private_address_passes(host: str) -> None:
    assert Egress().refuses(host) is not None
    assert Egress.of("example.com, 172.16.0.0/12").refuses(host) is not None


@given(spellings())
async def test_nor_does_it_when_it_is_resolved(host: str) -> None:
    with pytest.raises(Refused, match="not a public address"):
        await Egress().addresses(host, 80, Resolver())


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "A.LocalHost."])
def test_this_machine_by_its_name(host: str) -> None:
    assert Egress().refuses(host) is not None
    assert Egress.of("localhost, a.localhost").refuses(host) is None


def test_a_name_is_left_to_its_look_up() -> None:
    assert Egress().refuses("example.com") is None
    assert Egress().refuses("8.8.8.8") is None
    assert Egress().refuses("x" * 70) is None


async def test_one_bad_address_among_good_ones_is_enough() -> None:
    async def both(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    with pytest.raises(Refused, match=r"rebind.test is 10\.0\.0\.1, which is not a public address.*EGRESS_ALLOW"):
        await Egress().addresses("rebind.test", 80, both)
    with pytest.raises(Refused, match="not a public"):
        await Egress.of("10.0.0.2,8.8.8.8").addresses("rebind.test", 80, both)
    assert await Egress.of("10.0.0.0/8").addresses("rebind.test", 80, both) == ["8.8.8.8", "10.0.0.1"]
    assert await Egress.of("other, REBIND.test").addresses("Rebind.TEST.", 80, both) == ["8.8.8.8", "10.0.0.1"]


async def test_a_mapped_address_is_not_allowed_by_the_network_it_maps() -> None:
    async def mapped(host: str, port: int) -> list[str]:
        return ["::ffff:10.0.0.1"]

    with pytest.raises(Refused):
        await Egress.of("10.0.0.0/8").addresses("a.test", 80, mapped)


async def test_a_name_that_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Refused, match="cannot be resolved"):
        await Resolver()("nothing.invalid", 80)
    with pytest.raises(Refused, match="cannot be resolved"):
        await Resolver()("a." + "x" * 70, 80)

    async def none(host: str, port: int) -> list[str]:
        return []

    with pytest.raises(Refused, match="has no address"):
        await Egress().addresses("empty.test", 80, none)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "1.2.3", "http://a", "a b", "a/24", "*.example.com", "300.1.1.1"])
def test_a_setting_that_cannot_be_read_ends_the_process(text: str) -> None:
    with pytest.raises(ValidationError, match="neither a host name nor a network"):
        Settings(egress_allow=text)


def test_the_setting() -> None:
    made = Egress.of(" Hooks.Internal ,10.1.0.0/16,, fd00::/8, 127.0.0.1")
    assert made.hosts == {"hooks.internal"}
    assert [str(network) for network in made.networks] == ["10.1.0.0/16", "fd00::/8", "127.0.0.1/32"]
    assert Egress.of(None) == Egress.of("") == Egress()
