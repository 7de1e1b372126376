"""Where the embedded server's socket lies when the data folder's path is too long for one, and whom it trusts there."""

import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from service.core.errors import StateUnavailable
from service.core.redis.embedded import EmbeddedRedis, socket_of


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short path, in which `tmp` is for temporary files; no XDG_RUNTIME_DIR."""
    folder = Path(tempfile.mkdtemp(prefix="ps-", dir="/tmp"))
    (folder / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def runtime(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A proper XDG_RUNTIME_DIR."""
    (short / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short / "run"))
    return short / "run"


@pytest.fixture
def deep(short: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder whose path is too long for a socket; whatever server belongs to it is ended."""
    folder = tmp_path / ("d" * 120)
    yield folder
    EmbeddedRedis(folder).stop()


def test_the_runtime_folder_is_preferred_and_found_from_another_environment(
    runtime: Path, deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedRedis(deep)
    server.ensure()
    assert server.socket.parent.parent == runtime
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    other = EmbeddedRedis(deep)
    assert other.alive()
    assert other.ensure() == server.url
    assert other.pid() == server.pid()
    other.stop()
    assert list(runtime.iterdir()) == []


def test_a_runtime_folder_that_is_not_ours_alone_is_not_used(
    short: Path, runtime: Path, deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.chmod(0o755)
    assert socket_of(deep).is_relative_to(short / "tmp")
    runtime.chmod(0o700)
    assert socket_of(deep).is_relative_to(runtime)
    (short / "link").symlink_to(runtime)
    for value in (short / "link", short / "missing", "relative", f"/tmp/{'x' * 90}", ""):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(value))
        assert socket_of(deep).is_relative_to(short / "tmp"), value


def test_a_short_path_keeps_its_socket(runtime: Path, short: Path) -> None:
    assert socket_of(short) == short / "redis.sock"
    assert not list(runtime.iterdir())


@pytest.mark.parametrize("how", ["link", "mode", "owner", "file"])
def test_a_folder_that_another_has_prepared_is_refused(short: Path, deep: Path, how: str) -> None:
    prepared = socket_of(deep).parent
    assert prepared.parent == short / "tmp"
    if how == "link":
        (short / "elsewhere").mkdir(mode=0o700)
        prepared.symlink_to(short / "elsewhere")
    elif how == "file":
        prepared.write_bytes(b"")
    else:
        prepared.mkdir(mode=0o700)
        if how == "mode":
            prepared.chmod(0o770)
        elif os.geteuid() == 0:
            os.chown(prepared, 10001, 10001)
        else:
            pytest.skip("only root can give a folder away")
    server = EmbeddedRedis(deep)
    says = {"link": "a link", "mode": "mode is 0770", "owner": "belongs to user 10001", "file": "exists"}[how]
    with pytest.raises(StateUnavailable, match=says) as refused:
        server.ensure()
    assert str(prepared) in refused.value.detail
    assert server.pid() is None


def test_a_server_that_waits_in_a_prepared_folder_is_not_attached_to(short: Path, deep: Path) -> None:
    theirs = EmbeddedRedis(short / "theirs")
    theirs.ensure()
    try:
        prepared = socket_of(deep)
        prepared.parent.mkdir()
        prepared.parent.chmod(0o755)
        prepared.symlink_to(theirs.socket)
        assert EmbeddedRedis(deep).alive()
        with pytest.raises(StateUnavailable, match="cannot trust"):
            EmbeddedRedis(deep).ensure()
    finally:
        theirs.stop()


def test_a_server_whose_socket_was_removed_is_started_anew_with_its_data(runtime: Path, deep: Path) -> None:
    """What the end of a login does."""
    server = EmbeddedRedis(deep)
    with redis.Redis.from_url(server.ensure(), decode_responses=True) as client:
        client.set("kept", "yes")
    first = server.pid()
    assert not server.gone()
    shutil.rmtree(server.socket.parent)
    assert server.gone()
    again = EmbeddedRedis(deep)
    with redis.Redis.from_url(again.ensure(), decode_responses=True) as client:
        assert client.get("kept") == "yes"
    assert again.pid() != first
    first_title = Path(f"/proc/{first}/cmdline")
    assert not first_title.exists() or first_title.read_bytes() == b"", "it has ended"


def test_a_server_of_another_folder_is_never_ended(
    short: Path, deep: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart of the machine its number may stand in a file of ours."""
    sent: list[tuple[int, int]] = []
    kill = os.kill

    def noted(pid: int, number: int) -> None:
        sent.append((pid, number))
        kill(pid, number)

    other = EmbeddedRedis(short / "other")
    other.ensure()
    try:
        deep.mkdir()
        (deep / "redis.pid").write_text(str(other.pid()))
        mine = EmbeddedRedis(deep)
        monkeypatch.setattr(os, "kill", noted)
        mine._settle_socket()
        assert signal.SIGTERM not in [number for _, number in sent]
        assert other.alive()
    finally:
        other.stop()
