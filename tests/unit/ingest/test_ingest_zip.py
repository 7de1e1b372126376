"""Zip archives of class folders, honest and hostile."""

import struct
import zipfile
from typing import Any

import pytest

from .sample_files import archive, archive_with_link, picture, read_back

PICTURES = {"data/dog/1.jpg": picture(1, "JPEG"), "data/cat/2.PNG": picture(2), "data/cat/1.webp": picture(3, "WEBP")}


def test_folders_are_classes(take: Any) -> None:
    rubbish = {"__MACOSX/data/._1.jpg": b"x", "data/.DS_Store": b"x", "data/cat/Thumbs.db": b"x", "data/empty/": b""}
    found = take(archive(PICTURES | rubbish), "p.zip")
    assert found.description["labels"] == ["cat", "dog"]
    assert found.description["counts"] == [2, 1]
    (batch,) = read_back(found.path).batches(8)
    assert batch.images == [PICTURES["data/cat/1.webp"], PICTURES["data/cat/2.PNG"], PICTURES["data/dog/1.jpg"]]
    assert batch.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints",
        "@eaDir",
        "$RECYCLE.BIN",
        "__MACOSX",
        "__pycache__",
        "System Volume Information",
        "@Recycle",
    ],
)
def test_folders_that_tools_leave_are_no_classes(take: Any, name: str) -> None:
    stray = {f"{name}/1.png": picture(4), f"data/cat/{name}/2.png": picture(5), f"data/{name}/deep/3.png": picture(6)}
    found = take(archive(PICTURES | stray), "p.zip")
    assert (found.description["labels"], found.description["counts"]) == (["cat", "dog"], [2, 1])
    assert found.notes["warnings"] == []


def test_a_hidden_folder_that_is_passed_over_is_said(take: Any) -> None:
    found = take(archive(PICTURES | {"data/.net/1.png": picture(4)}), "p.zip")
    assert found.description["labels"] == ["cat", "dog"]
    assert found.notes["warnings"] == ["the folder '.net' was passed over: its name begins with a dot"]


@pytest.mark.parametrize("ending", ["jfif", "JPE", "pjpeg", "jpg"])
def test_endings_of_jpeg(take: Any, ending: str) -> None:
    found = take(archive({f"{name}/1.{ending}": picture(n, "JPEG") for n, name in enumerate("ab")}), "p.zip")
    assert found.description["labels"] == ["a", "b"]


def test_folders_named_as_missing_values_are_classes(take: Any) -> None:
    assert take(archive({"none/1.txt": b"a", "rock/1.txt": b"b"}), "p.zip").description["labels"] == ["none", "rock"]


def test_a_readme_among_pictures_is_named(refused: Any) -> None:
    assert "The first text is 'README.txt'" in refused(archive(PICTURES | {"README.txt": b"x"}), "p.zip").detail
    assert "'README.md' does not fit" in refused(archive(PICTURES | {"README.md": b"x"}), "p.zip").detail


def test_files_at_the_top_are_unlabelled(take: Any) -> None:
    found = take(archive({"b.txt": "zwei".encode("utf-8-sig"), "a.txt": b"one"}), "p.zip")
    assert found.description["labelled"] is False
    (batch,) = read_back(found.path).batches(8)
    assert batch.texts == ["one", "zwei"]


def test_folder_names_in_any_script_and_form(take: Any) -> None:
    members = {
        "猫/1.txt": b"a",
        "cafe\N{COMBINING ACUTE ACCENT}/1.txt": b"b",
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}/2.txt": b"c",
    }
    found = take(archive(members), "p.zip")
    assert found.description["labels"] == ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "猫"]
    assert found.description["counts"] == [2, 1]


def test_utf8_names_without_the_flag(take: Any) -> None:
    data = bytearray(archive({"猫/1.txt": b"a", "犬/1.txt": b"b"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := data.find(signature, place + 1)) >= 0:
            flags = struct.unpack_from("<H", data, place + offset)[0]
            struct.pack_into("<H", data, place + offset, flags & ~0x800)
    assert take(bytes(data), "p.zip").description["labels"] == ["犬", "猫"]


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"../evil.txt": b"x"}, ["'../evil.txt'", "leads outside"]),
        ({"cat/../../evil.txt": b"x"}, ["leads outside", ".."]),
        ({"/etc/passwd.txt": b"x"}, ["leads outside", "absolute"]),
        ({"C:/evil.txt": b"x"}, ["leads outside"]),
        ({"cat\\1.txt": b"x"}, ["backslash"]),
        ({"a/1.txt": b"x", "b/more.zip": b"x"}, ["'b/more.zip'", "archive inside the archive", "unpack"]),
        ({"a/1.txt": b"x", "b/1.exe": b"x"}, ["'b/1.exe' does not fit", "Remove it"]),
        ({"a/1.txt": b"x", "b/1.png": picture()}, ["mixes 1 pictures and 1 texts"]),
        ({"a/1.txt": b"x", "b.txt": b"x"}, ["'a/1.txt' lies 1 folders deep while others lie higher"]),
        ({"a/x/1.txt": b"x", "b/x/1.txt": b"x"}, ["lies 2 folders deep", "one folder a class"]),
        ({"cat/1.txt": b"x", "cat/2.txt": b"y"}, ["one folder, 'cat'", "at least two", "unlabelled"]),
        ({"a/1.txt": b"\xff", "b/1.txt": b"x"}, ["'a/1.txt' is not UTF-8 (byte 0)"]),
        ({"a/1.png": b"\xff", "b/1.png": picture()}, ["'a/1.png'", "not a readable picture"]),
        ({" /1.txt": b"a", "b/1.txt": b"x"}, ["label ' '", "empty"]),
        ({"a" * 201 + "/1.txt": b"a", "b/1.txt": b"x"}, ["201 characters", "at most 200"]),
        ({}, ["no file", "one folder a class"]),
        ({"folder/": b""}, ["no file"]),
    ],
)
def test_wrong_archives(refused: Any, members: dict[str, bytes], says: list[str]) -> None:
    error = refused(archive(members), "p.zip")
    assert error.status == 422
    for part in says:
        assert part in error.detail


def test_a_pickle_in_the_archive(refused: Any) -> None:
    error = refused(archive({"archive/data.pkl": b"x"}), "p.zip")
    assert error.status == 415
    assert "none is ever loaded" in error.detail


def test_links(refused: Any) -> None:
    assert "'a/link.txt' is a symbolic link" in refused(archive_with_link("a/link.txt", "/etc/passwd"), "p.zip").detail


def test_encrypted_members(refused: Any) -> None:
    data = bytearray(archive({"a/1.txt": b"secret", "b/1.txt": b"secret"}))
    place = data.find(b"PK\x01\x02")
    data[place + 8] |= 1
    assert "encrypted" in refused(bytes(data), "p.zip").detail


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_expand_without_a_bound(refused: Any, method: int) -> None:
    error = refused(archive({"a/1.txt": b"x", "b/1.txt": b"y"}, method), "p.zip")
    assert f"method {method}" in error.detail
    assert "deflated" in error.detail


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice(refused: Any, tmp_path: Any) -> None:
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as file:
        file.writestr("a/1.txt", "x")
        file.writestr("a/1.txt", "y")
    assert "'a/1.txt' stands in the archive twice" in refused((tmp_path / "twice.zip").read_bytes(), "p.zip").detail


def test_a_bomb_that_declares_itself(refused: Any) -> None:
    zeros = bytes(20 * 2**20)
    bomb = archive({f"{name}/{number}.txt": zeros for name in "ab" for number in range(2)})
    assert len(bomb) < 100_000
    error = refused(bomb, "p.zip")
    assert error.status == 413
    assert "decompression bomb" in error.detail


def test_a_bomb_that_lies_about_its_size(refused: Any) -> None:
    data = bytearray(archive({"a/1.txt": bytes(30 * 2**20), "b/1.txt": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.find(signature) + offset, 1000)
    assert "'a/1.txt' in the archive is damaged" in refused(bytes(data), "p.zip").detail


def test_members_that_overlap(refused: Any) -> None:
    data = archive({f"{name}/1.txt": bytes(range(256)) * 8 for name in ("a", "b")}, zipfile.ZIP_STORED)
    # Both entries of the directory point to the first member; the second member is cut out.
    first, second = data.find(b"PK\x03\x04"), data.find(b"PK\x03\x04", 4)
    directory = data.find(b"PK\x01\x02")
    entries = bytearray(data[directory:])
    place = entries.find(b"PK\x01\x02", 4)
    struct.pack_into("<I", entries, place + 42, first)
    end = entries.find(b"PK\x05\x06")
    struct.pack_into("<I", entries, end + 16, second)
    error = refused(data[:second] + bytes(entries), "p.zip")
    assert "overlap" in error.detail


def test_a_directory_that_is_too_large(refused: Any) -> None:
    size = 2**26
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, size, 0, 0)
    error = refused(bytes(size) + end, "p.zip")
    assert error.status == 413
    assert "directory has 67,108,864 bytes" in error.detail
    assert "Parquet" in error.detail


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max_item_bytes": 100}, ["'data/", "bytes; at most 100"]),
        ({"max_probe_items": 2}, ["more than 2 items"]),
        ({"max_probe_expanded_bytes": 200}, ["expands to", "at most 200"]),
        ({"max_image_pixels": 10}, ["'cat/1.webp'", "5 x 4 pixels", "at most 10", "Scale it down"]),
    ],
)
def test_limits(refused: Any, limits: dict[str, int], says: list[str]) -> None:
    error = refused(archive(PICTURES), "p.zip", **limits)
    assert error.status == 413
    for part in says:
        assert part in error.detail


@pytest.mark.parametrize("cut", [5, 100, -60, -1])
def test_an_archive_that_is_cut_off(refused: Any, cut: int) -> None:
    error = refused(archive(PICTURES)[:cut], "p.zip")
    assert error.status == 422
    assert "zip archive" in error.detail
    assert "complete" in error.detail
