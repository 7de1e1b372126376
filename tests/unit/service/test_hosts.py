"""Which names and origins count as the service's own."""

import pytest
from pydantic import ValidationError

from service.core.settings import Settings
from service.network.host_names import Hosts

OURS = Hosts.of(" ML.example.org, 10.0.0.7 ,[fd00::1],service", "192.168.1.5", "::", "", None)


@pytest.mark.parametrize(
    "authority",
    [
        "localhost", "localhost:8321", "LOCALHOST:8321", "localhost.:8321", "127.0.0.1", "127.9.9.9:1", "[::1]:8321",
        "ml.example.org", "ML.Example.org:443", "ml.example.org.", "10.0.0.7:80", "[fd00:0::1]:80", "192.168.1.5:8321",
        "service:8000", "[::]:8321",
    ],
)  # fmt: skip
def test_own_names(authority: str) -> None:
    assert OURS.accepts(authority)
    assert OURS.accepts_origin(f"http://{authority}")
    assert OURS.accepts_origin(f"https://{authority}")


@pytest.mark.parametrize(
    "authority",
    [
        "", ":8321", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.localhost.example",
        "xml.example.org", "example.org", "ml.example.org.evil.example:8321", "ml.example.org:8321:80", "::1", "0",
        "2130706433", "127.1", "10.0.0.8", "[fd00::2]", "[::1", "::1]", "user@localhost", "localhost/", "localhost#",
        "localhost:80x", "local host", "localhost\t", "lo\u212aalhost", "localhost..", "127.0.0.1%2f", "*", "null",
        "x" * 300,
    ],
)  # fmt: skip
def test_names_of_others(authority: str) -> None:
    assert not OURS.accepts(authority)
    assert not OURS.accepts_origin(f"http://{authority}")


@pytest.mark.parametrize(
    "origin", ["null", "", "localhost", "file://localhost", "http:localhost", "chrome-extension://a"]
)
def test_what_is_no_page_of_the_service(origin: str) -> None:
    assert not OURS.accepts_origin(origin)
    assert not Hosts.of("*").accepts_origin(origin)


def test_a_star_takes_any_name_that_is_one() -> None:
    every = Hosts.of("a.example,*")
    assert every.accepts("whatever.example:80")
    assert not every.accepts("what ever")


@pytest.mark.parametrize("entry", ["http://a.example", "a.example:80", "a.example/b", "*.example", "a b", "10.0.0.0/8"])
def test_a_setting_that_would_accept_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError, match="without scheme and port"):
        Settings(hosts=f"localhost,{entry}")
