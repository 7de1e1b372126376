"""Files of the label index: append-only data, and a log whose records alone say what is valid.

A crash can leave bytes that no record speaks of; they are cut off at the next write. A record is valid when
its checksum is right and all before it are.

==================  ==================================================================
file                content
==================  ==================================================================
``vocabulary.f32``  unit label embeddings, one row of ``dim`` float32 per distinct one
``digests.bin``     16 bytes per row: digest of the embedding, by which rows are shared
``labels.jsonl``    the text with which each row first came, one JSON string per line
``members.i32``     vocabulary rows of each teacher's labels, in label order
``weights.f32``     each teacher's prior, aligned with its members
``teachers.log``    records: teacher added, teacher removed
==================  ==================================================================
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DATA_FILES = ("vocabulary.f32", "digests.bin", "labels.jsonl", "members.i32", "weights.f32")
LOG_FILE = "teachers.log"
_HEAD = struct.Struct("<IBHIQIQd16s")
_ADD, _REMOVE = 1, 2


@dataclass(frozen=True, slots=True)
class Record:
    """One change of the zoo.

    Attributes
    ----------
    teacher : str
    added : bool
        False when the teacher was removed; the other fields are then as they were before the change.
    start, count : int
        Where the teacher's members and weights lie.
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
    """Valid records of a log in order, each with the offset of its end; stops at the first broken one."""
    offset = 0
    while offset + _HEAD.size <= len(log):
        crc, kind, name_length, count, start, rows, text, concentration, signature = _HEAD.unpack_from(log, offset)
        end = offset + _HEAD.size + name_length
        if end > len(log) or kind not in (_ADD, _REMOVE) or zlib.crc32(log[offset + 4 : end]) != crc:
            return
        name = log[offset + _HEAD.size : end].decode()
        yield Record(name, kind == _ADD, start, count, rows, text, concentration, signature), end
        offset = end


def append(path: Path, offset: int, data: bytes) -> None:
    """Write ``data`` at ``offset``, cut what lay beyond, and wait until the disk has it."""
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
    """Replace a small file in one step: readers see the old bytes or the new ones, also after a crash."""
    fresh = path.with_name(path.name + ".new")
    append(fresh, 0, data)
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new files in a folder survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
