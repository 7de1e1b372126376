"""TLS to a checked address: the certificate is checked for the name in the address, not for what it resolved to."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from service.network.egress import Egress
from service.webhooks.sender import Post

from .receiver import receiving

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl"),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hooks.test"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:hooks.test", "-keyout", str(key), "-out", str(made)],
        check=True,
        capture_output=True,
    )
    return made, key


async def test_the_certificate_must_be_for_the_name(certificate: tuple[Path, Path]) -> None:
    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    names: list[str | None] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    server.sni_callback = lambda _, name, __: names.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    async with receiving(server) as receiver:
        async with Post(Egress.of("127.0.0.1"), look_up=here, ssl_context=trusting) as post:
            assert (await post.send(f"https://hooks.test:{receiver.port}/", {}, b"{}")).status == 204
            assert receiver.received[0].headers["host"] == f"hooks.test:{receiver.port}"
            other = await post.send(f"https://other.test:{receiver.port}/", {}, b"{}")
            assert other.status is None
            assert "certificate" in (other.error or "").lower()
        async with Post(Egress.of("127.0.0.1"), look_up=here) as post:
            stranger = await post.send(f"https://hooks.test:{receiver.port}/", {}, b"{}")
            assert stranger.status is None
            assert "certificate" in (stranger.error or "").lower()
        assert names == ["hooks.test", "other.test", "hooks.test"]
        assert len(receiver.received) == 1
