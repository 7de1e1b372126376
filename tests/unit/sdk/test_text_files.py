"""Text files in several encodings: what is read, and what is refused with the way out."""

from pathlib import Path

import pytest

from preceptor import TextFileError
from preceptor.core.files.text_files import TextFile


def file(folder: Path, content: bytes) -> Path:
    path = folder / "names.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("codec", "encoding"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with a byte order mark"),
        ("utf-16", "UTF-16 with a byte order mark"),
        ("utf-32", "UTF-32 with a byte order mark"),
    ],
)
def test_unicode_is_read_whatever_its_form(tmp_path: Path, codec: str, encoding: str) -> None:
    found = TextFile.read(file(tmp_path, "Käse\n鳥\n".encode(codec)))
    assert (found.text, found.encoding, found.assumed) == ("Käse\n鳥\n", encoding, False)
    assert (found.remark is None) == (codec == "utf-8")


def test_latin_1_is_named_and_to_be_checked(tmp_path: Path) -> None:
    found = TextFile.read(file(tmp_path, "Käse\nCrème brûlée\n".encode("latin-1")))
    assert (found.text, found.encoding, found.assumed) == ("Käse\nCrème brûlée\n", "Latin-1", True)
    assert found.remark is not None
    assert "read as Latin-1" in found.remark


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("狗\n花\n".encode("gbk"), r"neither UTF-8 .* nor Latin-1"),
        ("кошка\nсобака\n".encode("cp1251"), r"neither UTF-8 .* nor Latin-1"),
        ("price €".encode("cp1252"), "Windows-1252"),
        ("cat\ndog\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (b"PK\x03\x04\0\0\0\x01\x02\x03", "not a text file"),
        (b"\xff\xfea", "begins as UTF-16"),
    ],
)
def test_other_encodings_are_not_guessed(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(TextFileError, match=message) as caught:
        TextFile.read(file(tmp_path, content))
    assert "UTF-8" in str(caught.value)
