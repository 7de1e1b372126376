"""The store: atomic writes, readable failures."""

from pathlib import Path

import pytest

from service.core.errors import NotFound, StoreFull, StoreUnavailable
from service.core.storage.object_store import Store, translated

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "store").as_uri(), tmp_path / "scratch")


async def test_documents_round_trip(store: Store, tmp_path: Path) -> None:
    await store.put("a/b.json", b"one")
    assert await store.get("a/b.json") == b"one"
    assert not await store.create("a/b.json", b"two")
    assert await store.create("a/c.json", b"three")
    assert sorted([key async for key in store.list("a/")]) == ["a/b.json", "a/c.json"]
    await store.put("a/1/c", b"four")
    await store.put("ab", b"five")
    await store.delete_prefix("a/")
    assert await store.get("a/b.json") is None
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["ab"]
    await store.delete_prefix("a/")
    assert await store.create("a/b.json", b"six")
    await store.delete("a/b.json")


async def test_a_file_moves_in_and_streams_out(store: Store) -> None:
    content = bytes(range(256)) * 10_000
    source = store.staging / "upload"
    source.write_bytes(content)
    await store.adopt("big", source)
    assert not source.exists()
    head = await store.head("big")
    assert head is not None
    assert head.size == len(content)
    assert b"".join([chunk async for chunk in store.stream("big", 5, 1_500_000)]) == content[5:1_500_000]


async def test_staged_files_are_not_listed(store: Store) -> None:
    (store.staging / "x").write_bytes(b"x")
    assert [key async for key in store.list("")] == []


async def test_a_missing_file_of_a_folder_is_named(store: Store) -> None:
    await store.put("t/config.json", b"{}")
    with pytest.raises(NotFound, match=r"model\.onnx"):
        await store.local_folder("t/", ["config.json", "model.onnx"])
    assert (await store.local_folder("t/", ["config.json"]) / "config.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device"), StoreFull),
        (OSError(30, "Read-only file system"), StoreUnavailable),
        (PermissionError(13, "Permission denied"), StoreUnavailable),
        (RuntimeError("connection reset"), StoreUnavailable),
    ],
)
def test_failures_say_what_to_do(error: Exception, kind: type[Exception]) -> None:
    found = translated(error)
    assert type(found) is kind
    assert found.headers["Retry-After"]


async def test_what_a_killed_process_was_writing_is_removed(store: Store, tmp_path: Path) -> None:
    await store.put("a/kept.json", b"one")
    partial = tmp_path / "store" / "a" / "model.onnx#3"
    partial.write_bytes(b"half")
    assert store.remove_abandoned() == 0, "it may still be written to"
    assert store.remove_abandoned(older_than=-1) == 1
    assert [key async for key in store.list("")] == ["a/kept.json"]
    (store.staging / "upload").write_bytes(b"half")
    other = Store((tmp_path / "store").as_uri(), tmp_path / "scratch")
    assert other.staging != store.staging
    assert (store.staging / "upload").exists()
    store.close()
    assert store.remove_abandoned() == 0
    assert len(list((tmp_path / "store" / ".staging").iterdir())) == 1, "the other one lives"
    other.close()
    assert list((tmp_path / "store" / ".staging").iterdir()) == []
