"""Inputs that the fuzz campaign (tests/fuzz) found: each broke an ingestion once."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.core.errors import InvalidProbe
from service.core.settings import Settings
from service.ingest.predictions import ingest_predictions

from .sample_files import archive, npy, npz, parquet, picture

VECTORS = {"features": [[1.0, 2.0], [3.0, 4.0]] * 5, "label": ["a", "b"] * 5}
LONG = "n" * 60_000
ROOT = Path(__file__).resolve().parents[3]


def test_a_schema_that_contradicts_the_statistics_does_not_end_the_process(tmp_path: Path) -> None:
    # An error of pyarrow's C++ part that its Python part let through: std::terminate, so a process of its own.
    data = parquet(VECTORS)
    changed = data.replace(b"%\x02\x18\x07element", b"%\x06\x18\x07element")
    assert changed != data
    source = tmp_path / "source"
    source.write_bytes(changed)
    script = (
        "import sys; from pathlib import Path; from service.ingest import ingest; "
        "from service.core.settings import Settings\n"
        "try: ingest(Path(sys.argv[1]), filename=None, format='parquet', labels=None, settings=Settings(), "
        "target=Path(sys.argv[1] + '.made'))\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(source)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "InvalidProbe\n"), done.stderr[-500:]


def test_a_column_whose_chunk_gives_itself_another_name_is_measured(refused: Any) -> None:
    # The limits went by the name in the chunk, and the reader goes by the schema.
    data = parquet({"features": [[0.0] * 5000] * 60}, use_dictionary=False, compression="zstd")
    path = b"\x08features\x04list\x07element"
    assert data.count(path) == 1
    error = refused(data.replace(path, b"\x08FEATURES\x04LIST\x07ELEMENT"), "p.parquet", max_probe_expanded_bytes=10**5)
    assert error.status == 413
    assert "the file expands to more than" in error.detail


def test_a_column_whose_name_is_no_utf8(refused: Any) -> None:
    data = parquet({"features": [[1.0]], "label": ["a"], "zzzz": [1]})
    error = refused(data.replace(b"zzzz", b"\xff\xfezz"), "p.parquet")
    assert error.status == 422


def test_a_label_that_is_no_utf8(refused: Any) -> None:
    data = parquet({"text": ["x", "y"], "label": ["aaaa", "bbbb"]}, use_dictionary=False, compression="none")
    error = refused(data.replace(b"bbbb", b"\xff\xfebb"), "p.parquet")
    assert "row 1: the label is not UTF-8" in error.detail


def test_a_footer_with_bytes_behind_it(refused: Any) -> None:
    data = parquet(VECTORS)
    length = int.from_bytes(data[-8:-4], "little")
    error = refused(data[:-8] + b"\x00" + (length + 1).to_bytes(4, "little") + b"PAR1", "p.parquet")
    assert "its footer is not readable" in error.detail


@pytest.mark.parametrize("filename", ["p.zip", "p.npz"])
def test_a_member_without_a_name(refused: Any, filename: str) -> None:
    nameless = archive({"a/1.png": picture(), "?": b"x"}).replace(b"?", b"\x00")  # a name ends at a zero
    assert "a member without a name" in refused(nameless, filename).detail


def test_an_array_without_its_ending(refused: Any) -> None:
    data = archive({"x": npy(np.zeros((2, 4, 4), np.uint8)), "y.npy": npy(np.array([0, 1]))})
    assert "Not known: ['x']" in refused(data, "p.npz").detail


def test_long_names_are_quoted_in_part(refused: Any, tmp_path: Path) -> None:
    assert len(refused(npz(**{LONG: np.eye(2)}), "p.npz").detail) < 1000
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(f"a/{LONG}.png", picture())
    cut = buffer.getvalue().replace(b"nnnn.png", b"mmmm.png", 1)  # the directory and the file disagree
    assert len(refused(cut, "p.zip").detail) < 1000
    source = tmp_path / "predictions"
    source.write_bytes(npz(**{LONG: np.eye(2)}))
    with pytest.raises(InvalidProbe) as caught:
        ingest_predictions(
            source, items=2, classes=2, values="logits", target=tmp_path / "target", settings=Settings(data=tmp_path)
        )
    assert len(caught.value.detail) < 1000


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", [3, 7])
def test_an_endless_list_in_a_page_header_is_not_walked(refused: Any, kind: int) -> None:
    # The sizes of doubles were added up without a look at the file's end.
    data = parquet(VECTORS, use_dictionary=False, compression="none")
    begin = 4
    endless = bytes([0x19, 0xF0 | kind]) + b"\xff" * 8 + b"\x7f"
    error = refused(data[:begin] + endless + data[begin + len(endless) :], "p.parquet")
    assert "unreadable page header" in error.detail


@pytest.mark.parametrize("kind", [3, 5, 8, 9])
def test_a_footer_whose_list_gives_its_elements_another_type(refused: Any, kind: int) -> None:
    data = parquet(VECTORS)
    length = int.from_bytes(data[-8:-4], "little")
    footer = bytearray(data[-8 - length : -8])
    place = footer.index(b"\x19") + 1  # the list of the schema's elements
    footer[place] = footer[place] & 0xF0 | kind
    error = refused(data[: -8 - length] + bytes(footer) + data[-8:], "p.parquet")
    assert "its footer is not readable" in error.detail
