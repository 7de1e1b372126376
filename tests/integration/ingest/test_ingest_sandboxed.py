"""Uploads that are read in a process of their own: the same results and errors, and what a file does ends only that."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]
import pytest
from PIL import Image

from preceptor.contract.problem import FieldError
from service.core.errors import InvalidProbe, PreceptorError, StoreFull, StoreUnavailable, TooLarge, UnsupportedType
from service.core.settings import Settings
from service.ingest import IngestedProbe, ingest, sandboxed
from service.ingest.sandboxed import ingest_predictions_sandboxed, ingest_sandboxed
from service.sandbox.fork_server import ForkServer
from tests.unit.ingest.hostile_files import blank, shared

pytestmark = pytest.mark.anyio
Read = Callable[..., Any]


@pytest.fixture
async def processes() -> AsyncIterator[ForkServer]:
    """What starts the processes; nothing of it is left."""
    before = descendants()
    server = ForkServer()
    yield server
    server.close()
    assert await soon(lambda: not descendants() - before)


@pytest.fixture
def read(processes: ForkServer, tmp_path: Path) -> Read:
    """Ingest some bytes apart: `read(data, "x.npz", max_probe_items=5)`."""

    async def run(data: bytes, filename: str, labels: list[str] | None = None, **changed: Any) -> IngestedProbe:
        source, target = tmp_path / f"{time.monotonic_ns()}", tmp_path / f"{time.monotonic_ns()}.parquet"
        source.write_bytes(data)
        settings = Settings(data=tmp_path).model_copy(update=changed)
        try:
            return await ingest_sandboxed(
                processes, source, filename=filename, format=None, labels=labels, settings=settings, target=target
            )
        except BaseException:
            assert not target.exists()
            raise

    return run


def npz(**arrays: Any) -> bytes:
    """An `.npz`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


ENDLESS = shared(blank(4000), 400_000)
"""Rows that share one picture of 16 megapixels: hours of decoding."""
PATIENT = {"max_probe_pixels": 10**15}
"""Without the limit that would refuse such a file within a minute."""
FEATURES = npz(features=np.eye(4), labels=["a", "b", "a", "b"])


def descendants() -> set[int]:
    """Processes started by this one, and by those."""
    found, waiting = set[int](), [os.getpid()]
    while waiting:
        for path in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            try:
                more = {int(number) for number in path.read_text().split()}
            except OSError:
                continue
            waiting += more - found
            found |= more
    return found


def readers(server: ForkServer) -> set[int]:
    """Processes that read an upload now."""
    process = server._process  # pyright: ignore[reportPrivateUsage]
    if process is None:
        return set()
    return {int(number) for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}


async def soon(holds: Callable[[], bool]) -> bool:
    """Whether something holds within some seconds."""
    for _ in range(1500):
        if holds():
            return True
        await asyncio.sleep(0.02)
    return False


async def begun(server: ForkServer, count: int = 1) -> set[int]:
    """The processes that read, once there are so many."""
    assert await soon(lambda: len(readers(server)) == count)
    return readers(server)


async def test_the_same_probe_as_in_this_process(read: Read, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(FEATURES)
    here = ingest(
        tmp_path / "x.npz",
        filename="x.npz",
        format=None,
        labels=["b", "a"],
        settings=Settings(),
        target=tmp_path / "here",
    )
    found = await read(FEATURES, "x.npz", ["b", "a"])
    assert (found.digest, found.description) == (here.digest, here.description)
    assert found.path.read_bytes() == here.path.read_bytes()


async def test_long_names_come_back(read: Read) -> None:
    names = [f"{number:06}" + "\U0001f600" * 190 for number in range(20_000)]
    found = await read(npz(labels=[0, 1], label_names=np.array(names)), "x.npz")
    assert found.description["labels"] == names


@pytest.mark.parametrize(
    ("data", "filename", "changed", "kind", "says"),
    [
        (b"abc", "x.npz", {}, InvalidProbe, "is not a readable npz archive"),
        (b"abc", "x.pkl", {}, UnsupportedType, "none is ever loaded"),
        (FEATURES, "x.npz", {"max_probe_items": 3}, TooLarge, "4 items; at most 3 are taken"),
        (b'{"text": "\\ud800"}', "x.jsonl", {}, InvalidProbe, "half of a surrogate pair"),
    ],
)
async def test_errors_are_raised_as_they_were(
    read: Read, data: bytes, filename: str, changed: dict[str, Any], kind: type[PreceptorError], says: str
) -> None:
    with pytest.raises(kind) as caught:
        await read(data, filename, **changed)
    assert type(caught.value) is kind
    assert says in caught.value.detail


async def test_a_store_that_takes_nothing_is_told(processes: ForkServer, tmp_path: Path) -> None:
    source, target = tmp_path / "source.npz", tmp_path / "target"
    source.write_bytes(FEATURES)
    target.mkdir()  # cannot be written to
    with pytest.raises(StoreUnavailable) as caught:
        await ingest_sandboxed(
            processes,
            source,
            filename=source.name,
            format=None,
            labels=None,
            settings=Settings(),
            target=target,
        )
    assert caught.value.headers


@pytest.mark.parametrize(
    "error",
    [
        InvalidProbe("row 3: wrong", errors=[FieldError(pointer="/items/3", detail="wrong")]),
        StoreFull("The store has no room left", headers={"Retry-After": "5"}),
    ],
)
def test_pointers_and_headers_are_carried(error: PreceptorError) -> None:
    found = sandboxed._error(sandboxed._refused(error))  # pyright: ignore[reportPrivateUsage]
    assert type(found) is type(error)
    assert (found.detail, found.errors, found.headers) == (error.detail, error.errors, error.headers)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (-signal.SIGXFSZ, TooLarge, "expands to more than 8,589,934,592 bytes"),
        (-signal.SIGXCPU, TooLarge, "not read within 600 seconds"),
        (-signal.SIGSEGV, InvalidProbe, "SIGSEGV"),
        (1, InvalidProbe, "status 1"),
        (None, InvalidProbe, "its status is not known"),
    ],
)
def test_what_is_told_of_a_process_that_ended(code: int | None, kind: type[PreceptorError], says: str) -> None:
    with pytest.raises(kind, match=says):
        sandboxed._tell_end(code, Settings())  # pyright: ignore[reportPrivateUsage]


async def test_predictions(processes: ForkServer, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target.npy"
    source.write_bytes(npz(predictions=np.eye(4, 3)))

    async def convert(items: int) -> None:
        await ingest_predictions_sandboxed(
            processes, source, items=items, classes=3, values="logits", target=target, settings=Settings()
        )

    await convert(4)
    np.testing.assert_array_equal(np.load(target), np.eye(4, 3, dtype=np.float32))
    with pytest.raises(InvalidProbe, match=r"of shape \(5, 3\)"):
        await convert(5)
    assert not target.exists()


async def test_a_process_that_is_killed(read: Read, processes: ForkServer) -> None:
    reading = asyncio.ensure_future(read(ENDLESS, "x.parquet", **PATIENT))
    (pid,) = await begun(processes)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(InvalidProbe, match=r"ended the process that read it \(SIGKILL; out of memory\?\)"):
        await reading
    assert (await read(FEATURES, "x.npz")).description["items"] == 4


async def test_a_file_that_takes_too_long(read: Read) -> None:
    with pytest.raises(TooLarge, match=r"not read within 1 seconds of computing.*PRECEPTOR_INGEST_SECONDS"):
        await read(ENDLESS, "x.parquet", **PATIENT, ingest_seconds=1)


async def test_a_file_that_takes_too_much_memory(read: Read) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(picture, "PNG")
    table = io.BytesIO()
    pq.write_table(pa.table({"image": [picture.getvalue()]}), table)
    with pytest.raises(TooLarge, match=r"too large to be decoded|bytes of memory"):
        await read(table.getvalue(), "x.parquet", ingest_memory=400 * 2**20)
    letters = np.random.default_rng(0).integers(97, 123, 20_000_000, dtype=np.uint8)  # Nothing that expands far.
    text = npz(texts=np.array([letters.tobytes().decode()]))
    with pytest.raises(TooLarge, match=r"bytes of memory; send smaller items.*PRECEPTOR_INGEST_MEMORY"):
        await read(text, "x.npz", ingest_memory=370 * 2**20, max_item_bytes=2**30, max_text_length=2**30)


async def test_a_reading_that_nobody_waits_for(read: Read, processes: ForkServer) -> None:
    reading = asyncio.ensure_future(read(ENDLESS, "x.parquet", **PATIENT))
    await begun(processes)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await soon(lambda: not readers(processes))


async def test_cancelled_before_it_began(read: Read, processes: ForkServer) -> None:
    for steps in range(12):
        reading = asyncio.ensure_future(read(ENDLESS, "x.parquet", **PATIENT))
        for _ in range(steps):
            await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert (await read(FEATURES, "x.npz")).description["items"] == 4
    assert await soon(lambda: not readers(processes))


def running(pid: int) -> bool:
    """Whether a process lives; one that only waits to be asked how it ended does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_several_at_once(read: Read, processes: ForkServer) -> None:
    slow = [asyncio.ensure_future(read(ENDLESS, "x.parquet", **PATIENT)) for _ in range(2)]
    killed, _ = await begun(processes, 2)
    others = await asyncio.gather(*(read(npz(features=np.eye(3) + n), "x.npz") for n in range(6)))
    assert len({found.digest for found in others}) == 6
    os.kill(killed, signal.SIGKILL)
    done, left = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(left)) == (1, 1)
    assert isinstance(done.pop().exception(), InvalidProbe)
    left.pop().cancel()
    assert await soon(lambda: not readers(processes))


async def test_a_server_that_is_killed(read: Read, processes: ForkServer) -> None:
    assert (await read(FEATURES, "x.npz")).description["items"] == 4
    process = processes._process  # pyright: ignore[reportPrivateUsage]
    assert process is not None
    process.kill()
    assert (await read(FEATURES, "x.npz")).description["items"] == 4


async def test_without_a_folder_for_temporary_files(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    assert (await read(FEATURES, "x.npz")).description["items"] == 4


async def test_the_server_has_one_thread(read: Read, processes: ForkServer) -> None:
    await read(FEATURES, "x.npz")
    process = processes._process  # pyright: ignore[reportPrivateUsage]
    assert process is not None
    assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1


async def test_no_secret_is_in_its_environment(
    read: Read, processes: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-away")
    monkeypatch.setenv("PRECEPTOR_REDIS_URL", "redis://:hidden-away@host")
    reading = asyncio.ensure_future(read(ENDLESS, "x.parquet", **PATIENT))
    (pid,) = await begun(processes)
    assert b"hidden-away" not in Path(f"/proc/{pid}/environ").read_bytes()
    reading.cancel()
    await asyncio.wait([reading])


SERVICE = """
import asyncio, sys
from pathlib import Path
from service.sandbox.fork_server import ForkServer
from service.ingest.sandboxed import ingest_sandboxed
from service.core.settings import Settings
source = Path(sys.argv[1])
settings = Settings(max_probe_pixels=10**15)
asyncio.run(ingest_sandboxed(ForkServer(), source, filename="x.parquet", format=None, labels=None, settings=settings,
    target=source.with_suffix(".made")))
"""


@pytest.mark.parametrize("server_first", [False, True])
async def test_nothing_outlives_a_killed_service(tmp_path: Path, server_first: bool) -> None:
    (tmp_path / "source").write_bytes(ENDLESS)
    before = descendants()
    service = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", SERVICE, str(tmp_path / "source")]
    )
    try:
        assert await soon(lambda: len(descendants() - before) == 3), "the service, its server and a reader"
        started = descendants() - before - {service.pid}
        if server_first:
            os.kill(min(started), signal.SIGKILL)
    finally:
        service.kill()
        service.wait()
    assert await soon(lambda: not any(map(running, started)))
