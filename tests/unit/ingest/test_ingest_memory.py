"""Memory does not grow with the upload: measured in a process of its own, as a peak is never given back.

`ru_maxrss` would not do: a new process begins with its parent's.
"""

import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from .sample_files import npy, npy_claiming, pa, pq

MEASURE = """
import re, sys
from pathlib import Path
from service.ingest import ingest
from service.core.errors import PreceptorError
from service.core.settings import Settings
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
source = Path(sys.argv[1])
before = peak()
try:
    found = ingest(
        source, filename=source.name, format=None, labels=None, settings=Settings(), target=source.with_suffix(".out")
    ).description["items"]
except PreceptorError as error:
    found = error.detail
print(peak() - before, found)
"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
ALLOWED = 100  # MiB above the imports; 0 to 72 were measured


LARGE = 1.3 * ALLOWED * 2**20  # bytes; more than this shows an upload that is held as a whole


def measured(source: Path) -> tuple[float, str]:
    """MiB that an ingestion takes at most, and its number of items or its error."""
    ran = subprocess.run([sys.executable, "-c", MEASURE, source], capture_output=True, text=True, check=True)
    size, found = ran.stdout.strip().split(" ", 1)
    return float(size), found


def test_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.npz", "w", zipfile.ZIP_STORED) as file:
        file.writestr("features.npy", npy(np.zeros((12_000, 3000), np.float32)))
    assert (tmp_path / "p.npz").stat().st_size > LARGE
    size, found = measured(tmp_path / "p.npz")
    assert found == "12000"
    assert size < ALLOWED


def test_tables(tmp_path: Path) -> None:
    schema = pa.schema([("features", pa.list_(pa.float32()))])
    offsets = np.arange(4001, dtype=np.int32) * 768
    column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.zeros(4000 * 768, np.float32)))
    with pq.ParquetWriter(tmp_path / "p.parquet", schema, compression="none", use_dictionary=False) as writer:
        for _ in range(12):
            writer.write_table(pa.Table.from_arrays([column], schema=schema))
    assert (tmp_path / "p.parquet").stat().st_size > LARGE
    size, found = measured(tmp_path / "p.parquet")
    assert found == "48000"
    assert size < ALLOWED


def test_a_line_without_an_end(tmp_path: Path) -> None:
    for name in ("p.csv", "p.jsonl"):
        (tmp_path / name).write_bytes(b"text\n" if name == "p.csv" else b"\n")
        os.truncate(tmp_path / name, 2 * ALLOWED * 2**20)
        size, found = measured(tmp_path / name)
        assert "line 2 is longer" in found
        assert size < ALLOWED


def test_a_row_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b'text\n"' + b'ab","cd\n' * (2 * ALLOWED * 2**17))
    assert (tmp_path / "p.csv").stat().st_size > LARGE
    size, found = measured(tmp_path / "p.csv")
    assert "the row at line 2 is longer" in found
    assert size < ALLOWED


def test_one_label_of_hundreds_of_megabytes(tmp_path: Path) -> None:
    count = 50_000_000
    with (
        zipfile.ZipFile(tmp_path / "p.npz", "w", zipfile.ZIP_STORED) as file,
        file.open("labels.npy", "w") as stream,
    ):
        stream.write(npy_claiming(f"<U{count}", (1,)))
        for _ in range(count // 250_000):
            stream.write(bytes(10**6))
    assert 4 * count > LARGE
    size, found = measured(tmp_path / "p.npz")
    assert "strings of 50,000,000 characters" in found
    assert size < ALLOWED


def test_a_directory_of_very_many_files(tmp_path: Path) -> None:
    """0.8 kilobytes a file were measured, and 1.5 when the directory was kept as it was read."""
    count = 100_000
    with (tmp_path / "p.zip").open("wb") as file:
        data = b"\xff"
        local = struct.Struct("<4s5H3I2H")
        entry = struct.Struct("<4s6H3I5H2I")
        directory: list[bytes] = []
        for number in range(count):
            name = b"%06d.txt" % number
            sizes = (zlib.crc32(data), len(data), len(data))
            directory.append(
                entry.pack(b"PK\1\2", 20, 20, 0x800, 0, 0, 0, *sizes, len(name), 0, 0, 0, 0, 0, file.tell()) + name
            )
            file.write(local.pack(b"PK\3\4", 20, 0x800, 0, 0, 0, *sizes, len(name), 0) + name + data)
        whole = b"".join(directory)
        begin = file.tell()
        # The counts of two bytes would overflow; readers go by the directory's size.
        file.write(whole + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0, 0, len(whole), begin, 0))
    size, found = measured(tmp_path / "p.zip")
    assert "'000000.txt' is not UTF-8" in found
    assert size < count * 1200 / 2**20
