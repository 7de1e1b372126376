"""Files of the label index: append-only data, and a log whose records define the valid part.

A crash can leave bytes that no record refers to; the next write truncates them. A record is valid if its checksum is
correct and all records before it are valid.

==================  ==================================================================
file                content
==================  ==================================================================
``vocabulary.f32``  unit label embeddings, one row of ``dim`` float32 per distinct one
``digests.bin``     16 bytes per row: digest of the embedding, by which rows are shared
``labels.jsonl``    text of each row when it was first added, one JSON string per line
``members.i32``     vocabulary rows of each teacher's labels, in label order
``weights.f32``     each teacher's prior, aligned with its members
``teachers.log``    records: teacher added, teacher removed
==================  ==================================================================
"""

import fcntl
import json
import os
import re
import struct
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
DIGEST = 16
DATA_FILES = ("vocabulary.f32", "digests.bin", "labels.jsonl", "members.i32", "weights.f32")
LOG_FILE = "teachers.log"
_HEAD = struct.Struct("<IBHIQIQd16s")
_ADD, _REMOVE = 1, 2
_FOLDER = re.compile(r"g[0-9]{1,9}")


class DamagedIndexError(ValueError):
    """A file of the index contradicts its log or its head; the index must be rebuilt."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}; delete the folder of the index and add its teachers again")


@dataclass(frozen=True, slots=True)
class Record:
    """One change of the zoo.

    Attributes
    ----------
    teacher : str
    added : bool
        False if the teacher was removed; the other fields then have their previous values.
    start, count : int
        Position of the teacher's members and weights.
    rows, text_bytes : int
        Vocabulary rows, and bytes of their texts, that must exist for the record to be read.
    concentration : float
        Squared norm of the teacher's mean embedding.
    signature : bytes
        16 bytes: digest of members and weights. Teachers that share it have the same cost to any student.
    """

    teacher: str
    added: bool
    start: int
    count: int
    rows: int
    text_bytes: int
    concentration: float
    signature: bytes

    def encode(self) -> bytes:
        """Bytes of the record, checksum first."""
        name = self.teacher.encode()
        body = (
            _HEAD.pack(
                0,
                _ADD if self.added else _REMOVE,
                len(name),
                self.count,
                self.start,
                self.rows,
                self.text_bytes,
                self.concentration,
                self.signature,
            )[4:]
            + name
        )
        return zlib.crc32(body).to_bytes(4, "little") + body


def decode(log: bytes) -> Iterator[tuple[Record, int]]:
    """Valid records of a log in order, each with the offset of its end; stops at the first invalid one."""
    offset = 0
    while offset + _HEAD.size <= len(log):
        crc, kind, name_length, count, start, rows, text, concentration, signature = _HEAD.unpack_from(log, offset)
        end = offset + _HEAD.size + name_length
        if end > len(log) or kind not in (_ADD, _REMOVE) or zlib.crc32(log[offset + 4 : end]) != crc:
            return
        try:
            name = log[offset + _HEAD.size : end].decode()
        except UnicodeDecodeError:
            return
        yield Record(name, kind == _ADD, start, count, rows, text, concentration, signature), end
        offset = end


def append(path: Path, offset: int, data: bytes) -> None:
    """Write ``data`` at ``offset``, truncate everything after it, and wait until it is on disk."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.ftruncate(descriptor, offset)
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            offset += written
            view = view[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Replace a small file atomically: readers see the old or the new bytes, also after a crash."""
    fresh = path.with_name(path.name + ".new")
    append(fresh, 0, data)
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new files in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_sizes(folder: Path, dim: int, rows: int, text_bytes: int, members: int) -> None:
    """Raise :class:`DamagedIndexError` if a data file is shorter than the log's records require."""
    needed = (rows * dim * 4, rows * DIGEST, text_bytes, members * 4, members * 4)
    for name, size in zip(DATA_FILES, needed, strict=True):
        path = folder / name
        there = path.stat().st_size if path.exists() else 0
        if there < size:
            raise DamagedIndexError(path, f"has {there} bytes, the log needs {size}")


def mapped(path: Path, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """A file as a read-only array, which the system pages in on access."""
    if 0 in shape:
        return np.empty(shape, dtype=dtype)
    # As a plain array: indexing a memmap object costs microseconds more each time.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", shape=shape))


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the index's write lock, across processes."""
    with (path / "lock").open("a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_current(path: Path, folder: str, changes: int, encoder_id: str, dim: int) -> None:
    """Make ``folder`` the current one, atomically."""
    current = {"format": FORMAT, "folder": folder, "changes": changes, "encoder_id": encoder_id, "dim": dim}
    replace_file(path / "CURRENT", json.dumps(current).encode())


def read_current(path: Path) -> dict[str, Any]:
    """Read the head that :func:`write_current` wrote.

    Raises
    ------
    DamagedIndexError
        The head is damaged.
    ValueError
        The head is of another format.
    """
    try:
        current = json.loads((path / "CURRENT").read_bytes())
        version = current["format"]
        if version != FORMAT:
            raise ValueError(f"{path} is an index of format {version}, this program reads {FORMAT}")
        wanted = {"folder": str, "changes": int, "encoder_id": str, "dim": int}
        if not all(isinstance(current[name], kind) for name, kind in wanted.items()):
            raise TypeError("a field of another type")
        # Compaction removes the folder named here.
        if not _FOLDER.fullmatch(current["folder"]):
            raise TypeError("a folder that is not one of the index")
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, RecursionError) as problem:
        raise DamagedIndexError(path / "CURRENT", f"is not the head of an index ({problem})") from problem
    return current
