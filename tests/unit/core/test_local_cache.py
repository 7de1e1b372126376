"""Copies have a limit; what a job uses stays; what has gone is fetched again."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.core.storage.local_cache import LocalCache
from service.core.storage.object_store import Store

HOUR = 3600


def copy(cache: LocalCache, kind: str, name: str, *, age: float, size: int = 4096) -> Path:
    """A copy that was used `age` seconds ago."""
    path = cache.folder / kind / name
    file = path / "model.safetensors" if kind != "objects" else path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(size))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path, 3 * 4096)
    old, older = copy(cache, "hub", "tch_1", age=3 * HOUR), copy(cache, "objects", "a", age=4 * HOUR)
    new, newer = copy(cache, "folders", "b", age=2 * HOUR), copy(cache, "objects", "c", age=HOUR)
    assert cache.trim() == 1
    assert [path.exists() for path in (older, old, new, newer)] == [False, True, True, True]
    assert cache.use("hub", "tch_1") == old
    copy(cache, "objects", "d", age=HOUR)
    assert cache.trim() == 1
    assert old.exists()
    assert not new.exists()
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_minute_of_grace_and_none_for_the_models_of_deleted_teachers(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path, 0)
    fresh, deleted = copy(cache, "objects", "a", age=1), copy(cache, "hub", "tch_1", age=1)
    assert cache.trim() == 0
    assert cache.trim(gone=["tch_1", "tch_2"]) == 1
    assert fresh.exists()
    assert not deleted.exists()
    assert LocalCache(tmp_path).trim() == 0, "without a limit nothing goes"


def test_what_is_being_written_stays_for_a_day(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path, 0)
    copy(cache, "objects", ".new-1", age=2 * HOUR)
    copy(cache, "objects", ".new-2", age=25 * HOUR)
    assert cache.trim() == 1
    assert [path.name for path in (tmp_path / "objects").iterdir()] == [".new-1"]


def test_what_a_job_uses_stays_until_its_end(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path, 0, grace=0)
    path = copy(cache, "hub", "tch_1", age=0)
    with cache.in_use():
        cache.use("hub", "tch_1")
        assert LocalCache(tmp_path, 0, grace=0).trim(gone=["tch_1"]) == 0
    assert path.exists()
    assert cache.trim() == 1
    assert list((tmp_path / "uses").iterdir()) == []


def test_jobs_side_by_side_hold_their_own(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path, 0, grace=0)
    first, second = copy(cache, "hub", "tch_1", age=0), copy(cache, "hub", "tch_2", age=0)

    async def job(name: str, until: asyncio.Event) -> None:
        with cache.in_use():
            await asyncio.to_thread(cache.use, "hub", name)
            await until.wait()

    async def both() -> None:
        events = [asyncio.Event(), asyncio.Event()]
        jobs = [asyncio.create_task(job(name, event)) for name, event in zip(("tch_1", "tch_2"), events, strict=True)]
        await asyncio.sleep(0.2)
        assert cache.trim() == 0
        events[0].set()
        await jobs[0]
        assert cache.trim() == 1
        assert not first.exists()
        assert second.exists()
        events[1].set()
        await jobs[1]

    asyncio.run(both())


def test_another_process_that_is_killed_lets_go(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path, 0, grace=0)
    path = copy(cache, "hub", "tch_1", age=0)
    program = (
        "import pathlib, sys, time\n"
        "from service.core.storage.local_cache import LocalCache\n"
        "cache = LocalCache(pathlib.Path(sys.argv[1]))\n"
        "with cache.in_use():\n"
        "    cache.use('hub', 'tch_1')\n"
        "    print('used', flush=True)\n"
        "    time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"used\n"
        assert cache.trim() == 0
        assert path.exists()
    finally:
        other.kill()
        other.wait()
        if other.stdout is not None:
            other.stdout.close()
    assert cache.trim() == 1
    assert list((tmp_path / "uses").iterdir()) == []


@pytest.fixture
def bucket(tmp_path: Path) -> Store:
    """A store that is no folder."""
    store = Store("memory:///", tmp_path / "cache", 0)
    store.copies = LocalCache(tmp_path / "cache", 3 * 4096, grace=0)
    return store


@pytest.mark.anyio
async def test_a_bucket_may_hold_more_than_the_copies(bucket: Store, tmp_path: Path) -> None:
    for number in range(20):
        await bucket.put(f"probes/{number}", bytes([number]) * 4000)
    for number in range(20):
        with bucket.copies.in_use():
            path = await bucket.local(f"probes/{number}")
            assert path is not None
            assert path.read_bytes() == bytes([number]) * 4000
    assert 1 <= len(list((tmp_path / "cache" / "objects").iterdir())) <= 4
    assert await bucket.local("probes/20") is None


@pytest.mark.anyio
async def test_a_folder_that_has_gone_is_fetched_again(bucket: Store, tmp_path: Path) -> None:
    names = ["config.json", "model.safetensors"]
    for name in names:
        await bucket.put(f"t/{name}", name.encode() * 100)
    with bucket.copies.in_use():
        folder = await bucket.local_folder("t/", names)
        opened = (folder / "config.json").open("rb")
    LocalCache(tmp_path / "cache", 0, grace=0).trim()
    assert not folder.exists()
    assert opened.read() == b"config.json" * 100, "what is open stays readable"
    opened.close()
    with bucket.copies.in_use():
        assert await bucket.local_folder("t/", names) == folder
        # The objects may go while the folder is used: its files are theirs under another name.
        LocalCache(tmp_path / "cache", 0, grace=0).trim()
        for name in names:
            assert (folder / name).read_bytes() == name.encode() * 100
        (folder / "config.json").unlink()
        assert await bucket.local_folder("t/", names) == folder
        assert (folder / "config.json").read_bytes() == b"config.json" * 100


@pytest.mark.anyio
async def test_links_of_an_older_version_are_replaced(bucket: Store) -> None:
    await bucket.put("t/config.json", b"{}")
    with bucket.copies.in_use():
        folder = await bucket.local_folder("t/", ["config.json"])
        (folder / "config.json").unlink()
        (folder / "config.json").symlink_to(folder / "gone")
        assert (await bucket.local_folder("t/", ["config.json"]) / "config.json").read_bytes() == b"{}"
        assert not (folder / "config.json").is_symlink()


def trimming(folder: Path) -> subprocess.Popen[bytes]:
    """A process that removes all that it may."""
    program = (
        "import pathlib, sys\n"
        "from service.core.storage.local_cache import LocalCache\n"
        "cache = LocalCache(pathlib.Path(sys.argv[1]), 0, grace=0)\n"
        "while True:\n"
        "    cache.trim()\n"
    )
    return subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.DEVNULL)


@pytest.mark.anyio
async def test_two_processes_of_tiny_limits_never_see_a_part(bucket: Store, tmp_path: Path) -> None:
    """One reads folders again and again, while the other removes."""
    for number in range(6):
        await bucket.put(f"t/{number}/a", bytes([number]) * 5000)
        await bucket.put(f"t/{number}/b", bytes([number]) * 5000)
    other = trimming(tmp_path / "cache")
    try:
        until = time.monotonic() + 3
        read = 0
        while time.monotonic() < until:
            number = read % 6
            with bucket.copies.in_use():
                folder = await bucket.local_folder(f"t/{number}/", ["a", "b"])
                assert (folder / "a").read_bytes() == (folder / "b").read_bytes() == bytes([number]) * 5000
            read += 1
        assert other.poll() is None
        assert read > 20
    finally:
        other.kill()
        other.wait()
