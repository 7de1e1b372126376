"""Whatever Preceptor makes on a disk is for its own user: asked of the real processes."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli.dev_stack import Stack
from service.core.private_files import private_folder
from service.core.settings import Settings

OPEN_TO_ALL = 0o000


@pytest.fixture
def lax() -> Iterator[None]:
    """A caller whose files everyone may write to."""
    before = os.umask(OPEN_TO_ALL)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """Files and folders that another user could open, with their modes; links have none of their own."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        if not stat.S_ISLNK(status.st_mode) and stat.S_IMODE(status.st_mode) & 0o077:
            found[str(path.relative_to(folder))] = oct(status.st_mode)
    return found


@pytest.mark.usefixtures("lax")
def test_folders_are_made_private_and_others_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o750)
    made = private_folder(tmp_path / "mine" / "a" / "b")
    assert private_folder(made) == made
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (made, made.parent, made.parent.parent)]
    assert modes == [0o700, 0o700, 0o750]
    (made / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        private_folder(made / "file" / "c")


@pytest.mark.usefixtures("lax")
def test_a_whole_stack_and_its_keys_leave_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "new" / "data"
    monkeypatch.setenv("PRECEPTOR_DATA", str(data))
    command = [sys.executable, "-m", "service.cli.keys", "mint", "--name", "one"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout
    with Stack(Settings(data=data, port=0), logs=tmp_path / "logs") as stack:
        for name in ("service", "worker-recommend", "worker-distill"):
            status = Path(f"/proc/{stack.process(name).pid}/status").read_text()
            assert "\nUmask:\t0077\n" in status, name
        assert stack.embedded is not None
        assert "\nUmask:\t0077\n" in Path(f"/proc/{stack.embedded.pid()}/status").read_text()
        kept = {path.name for path in data.rglob("*")}
        assert {"redis.sock", "store", "keys", "keys-were-minted"} <= kept
        assert open_to_others(data) == {}
    assert stat.S_IMODE(data.parent.stat().st_mode) == 0o700


def test_what_opens_the_state_by_itself_is_private_too(tmp_path: Path, redis_url: str) -> None:
    environment = {**os.environ, "REDIS_URL": redis_url, "PRECEPTOR_DATA": str(tmp_path / "data")}
    code = (
        "import asyncio, os\n"
        "from service.core.settings import Settings\n"
        "from service.core.state import State\n"
        "async def main():\n"
        "    async with State(Settings()) as state:\n"
        "        await state.store.put('a/b', b'x')\n"
        "        (state.workplace / 'c').write_bytes(b'x')\n"
        "        os.close(os.open(state.scratch / 'd', os.O_CREAT, 0o666))\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, umask=OPEN_TO_ALL)
    assert (tmp_path / "data" / "scratch" / "d").exists()
    assert open_to_others(tmp_path / "data") == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_writes_no_key_that_the_service_cannot_read(tmp_path: Path) -> None:
    environment = {**os.environ, "PRECEPTOR_DATA": str(tmp_path)}
    os.chown(private_folder(tmp_path / "store"), 10001, 10001)
    command = [sys.executable, "-m", "service.cli.keys", "mint", "--name", "one"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "belongs to user 10001" in done.stderr
    assert list((tmp_path / "store").iterdir()) == []
