"""The label embeddings of a zoo in one memory-mapped vocabulary, updated when teachers are added and removed.

Any number of processes may read while one writes: data files are only appended to, readers see the data that the log's
valid records refer to, and compaction builds a new folder before an atomic rename makes it current.
"""

import hashlib
import json
import shutil
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from worker.transport import index_files
from worker.transport.index_files import DATA_FILES, DIGEST, LOG_FILE, DamagedIndexError, Record
from worker.transport.index_state import IndexState, Zoo

# Compaction copies all live data, so it runs only when there is as much dead data as live data.
_DEAD_SHARE = 0.5
_SMALLEST_COMPACTION = 65_536


class LabelIndex:
    """One vocabulary of label embeddings and, per teacher, the list of its rows.

    Create it with :meth:`open`. Every method is safe for threads; writers of several processes are serialised by a
    file lock. All labels of an index come from one encoder.
    """

    def __init__(self, path: Path, encoder_id: str, dim: int) -> None:
        self.path = path
        self.encoder_id = encoder_id
        self.dim = dim
        self._guard = threading.RLock()
        self._state = self._read_all()
        self._zoo: Zoo | None = None
        self._digests: dict[bytes, int] | None = None

    @classmethod
    def open(cls, path: str | Path, encoder_id: str, dim: int) -> "LabelIndex":
        """Open an index, or create an empty one.

        Parameters
        ----------
        path : path of a folder
        encoder_id : str
            Identity of the encoder of all embeddings. An index never mixes encoders.
        dim : int
            d, length of an embedding.

        Raises
        ------
        ValueError
            The folder holds an index of another encoder or dimension.
        DamagedIndexError
            A file of the index is damaged or too short for its log. Delete the folder and add the teachers again.
        """
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        with index_files.locked(path):
            if not (path / "CURRENT").exists():
                (path / "g0").mkdir(exist_ok=True)
                for name in (*DATA_FILES, LOG_FILE):
                    index_files.append(path / "g0" / name, 0, b"")
                index_files.write_current(path, "g0", 0, encoder_id, dim)
        current = index_files.read_current(path)
        if current["encoder_id"] != encoder_id or current["dim"] != dim:
            raise ValueError(
                f"{path} indexes embeddings of encoder {current['encoder_id']!r} with {current['dim']} dimensions, "
                f"not {encoder_id!r} with {dim}; use another folder, or rebuild the index"
            )
        return cls(path, encoder_id, dim)

    @property
    def generation(self) -> int:
        """Number of changes that this handle has read; increases with every teacher added or removed."""
        with self._guard:
            return self._state.changes

    def __len__(self) -> int:
        with self._guard:
            return len(self._state.records)

    def __contains__(self, teacher_id: object) -> bool:
        with self._guard:
            return teacher_id in self._state.records

    def refresh(self) -> bool:
        """Read the changes of other handles and processes; True if there were any."""
        with self._guard:
            state = self._state
            before = state.changes
            if index_files.read_current(self.path)["folder"] != state.folder.name:
                self._state = self._read_all()
                self._zoo, self._digests = None, None
            else:
                state.read_more()
            changed = self._state.changes != before
            if changed:
                self._zoo = None
            return changed

    def zoo(self) -> Zoo:
        """The current view, after a :meth:`refresh`; the same object until something changes."""
        with self._guard:
            self.refresh()
            if self._zoo is None:
                self._zoo = self._state.view()
            return self._zoo

    def add(
        self, teacher_id: str, labels: Sequence[str], embeddings: ArrayLike, prior: ArrayLike | None = None
    ) -> None:
        """Add a teacher, or replace it. It is on disk when this returns.

        Parameters
        ----------
        teacher_id : str
            Up to 65535 bytes.
        labels : sequence of K str
        embeddings : array, shape (K, d)
            Need not be normalised; equal embeddings share one row of the vocabulary.
        prior : array, shape (K,), or None
            Non-negative; normalised to sum 1. Uniform by default.

        Raises
        ------
        ValueError
            Shapes that do not match, a zero vector, a bad prior.
        """
        self.add_many([(teacher_id, labels, embeddings, prior)])

    def add_many(self, teachers: Sequence[tuple[str, Sequence[str], ArrayLike, ArrayLike | None]]) -> None:
        """Add many teachers with one wait for the disk; each is (id, labels, embeddings, prior), as in :meth:`add`.

        After a crash, a leading part of them is in the index.
        """
        checked = [self._checked(*teacher) for teacher in teachers]
        with self._writing() as state:
            digests = self._known_digests(state)
            rows: list[bytes] = []
            new_digests: list[bytes] = []
            texts: list[bytes] = []
            members: list[bytes] = []
            weights: list[bytes] = []
            log: list[bytes] = []
            next_row, next_member, text_bytes = state.rows, state.members, state.text_bytes
            for name, labels, unit, prior in checked:
                own = np.empty(len(labels), dtype=np.int32)
                for position, (label, row) in enumerate(zip(labels, unit, strict=True)):
                    data = row.tobytes()
                    digest = hashlib.blake2b(data, digest_size=DIGEST).digest()
                    known = digests.get(digest)
                    if known is None:
                        known = digests[digest] = next_row
                        next_row += 1
                        rows.append(data)
                        new_digests.append(digest)
                        texts.append(json.dumps(label, ensure_ascii=False).encode() + b"\n")
                        text_bytes += len(texts[-1])
                    own[position] = known
                mean = prior.astype(np.float64) @ unit.astype(np.float64)
                signature = hashlib.blake2b(own.tobytes() + prior.tobytes(), digest_size=DIGEST).digest()
                record = Record(
                    name, True, next_member, len(labels), next_row, text_bytes, float(mean @ mean), signature
                )
                next_member += len(labels)
                members.append(own.tobytes())
                weights.append(prior.tobytes())
                log.append(record.encode())
            folder = state.folder
            for name, offset, parts in (
                ("vocabulary.f32", state.rows * self.dim * 4, rows),
                ("digests.bin", state.rows * DIGEST, new_digests),
                ("labels.jsonl", state.text_bytes, texts),
                ("members.i32", state.members * 4, members),
                ("weights.f32", state.members * 4, weights),
            ):
                index_files.append(folder / name, offset, b"".join(parts))
            self._commit(state, b"".join(log))

    def remove(self, teacher_id: str) -> bool:
        """Remove a teacher; False if it was not in the index."""
        with self._writing() as state:
            record = state.records.get(teacher_id)
            if record is None:
                return False
            self._commit(state, replace(record, added=False).encode())
            return True

    def labels(self) -> list[str]:
        """Text of each vocabulary row when it was first added.

        Raises
        ------
        DamagedIndexError
        """
        with self._guard:
            path, size = self._state.folder / "labels.jsonl", self._state.text_bytes
            data = path.read_bytes()[:size] if size else b""
        try:
            texts: list[object] = [json.loads(line) for line in data.splitlines()]
        except (ValueError, RecursionError) as problem:
            raise DamagedIndexError(path, f"contains a line that cannot be read ({problem})") from problem
        if not all(isinstance(text, str) for text in texts):
            raise DamagedIndexError(path, "contains a line that is not a string")
        return cast("list[str]", texts)

    def compact(self) -> None:
        """Rewrite the index without the data of removed teachers. Readers are not affected."""
        with self._writing() as state:
            self._compact(state)

    # Reading

    def _read_all(self) -> IndexState:
        while True:
            current = index_files.read_current(self.path)
            state = IndexState(self.path / current["folder"], self.dim, current["changes"])
            try:
                state.read_more()
            except FileNotFoundError:
                # Compacted between the two reads: the old folder is gone, the new one is current.
                if index_files.read_current(self.path)["folder"] == current["folder"]:
                    raise DamagedIndexError(state.folder / LOG_FILE, "is missing") from None
                continue
            return state

    # Writing

    @contextmanager
    def _writing(self) -> Generator[IndexState]:
        with self._guard, index_files.locked(self.path):
            self.refresh()
            yield self._state

    def _commit(self, state: IndexState, log: bytes) -> None:
        index_files.append(state.folder / LOG_FILE, state.log_end, log)
        state.read_more()
        self._zoo = None
        alive = sum(record.count for record in state.records.values()) if state.members else 0
        if state.members > _SMALLEST_COMPACTION and alive < _DEAD_SHARE * state.members:
            self._compact(state)

    def _known_digests(self, state: IndexState) -> dict[bytes, int]:
        if not state.rows:
            self._digests = {}
        elif self._digests is None or len(self._digests) != state.rows:
            data = (state.folder / "digests.bin").read_bytes()[: state.rows * DIGEST]
            self._digests = {data[row * DIGEST : (row + 1) * DIGEST]: row for row in range(state.rows)}
        return self._digests

    def _checked(
        self, teacher_id: str, labels: Sequence[str], embeddings: ArrayLike, prior: ArrayLike | None = None
    ) -> tuple[str, list[str], NDArray[np.float32], NDArray[np.float32]]:
        count = len(labels)
        rows = np.asarray(embeddings, dtype=np.float64)
        if not teacher_id or len(teacher_id.encode()) > 65_535:
            raise ValueError("a teacher id must have 1 to 65535 bytes")
        if count == 0 or rows.shape != (count, self.dim):
            raise ValueError(
                f"teacher {teacher_id}: {count} labels and embeddings of shape {rows.shape}, "
                f"expected ({count or 'at least one'}, {self.dim})"
            )
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(rows).all() or float(norms.min()) <= 1e-12:
            raise ValueError(f"teacher {teacher_id}: an embedding is zero or not finite")
        weights = np.full(count, 1.0) if prior is None else np.asarray(prior, dtype=np.float64)
        if weights.shape != (count,):
            raise ValueError(f"teacher {teacher_id}: prior has shape {weights.shape}, expected ({count},)")
        if not np.isfinite(weights).all() or float(weights.min()) < 0 or float(weights.sum()) <= 0:
            raise ValueError(f"teacher {teacher_id}: a prior must be non-negative, finite and not all zero")
        return (
            teacher_id,
            list(labels),
            (rows / norms).astype(np.float32),
            (weights / weights.sum()).astype(np.float32),
        )

    def _compact(self, state: IndexState) -> None:
        zoo = state.view()
        number = int(state.folder.name[1:]) + 1
        folder = self.path / f"g{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        heads = np.cumsum(zoo.counts) - zoo.counts
        index = np.repeat(zoo.starts - heads, zoo.counts) + np.arange(int(zoo.counts.sum()), dtype=np.int64)
        rows, members = np.unique(zoo.members[index], return_inverse=True)
        texts = self.labels()
        text_lines = [json.dumps(texts[row], ensure_ascii=False).encode() + b"\n" for row in rows]
        text_bytes = sum(map(len, text_lines))
        digests = (state.folder / "digests.bin").read_bytes()
        contents = {
            "vocabulary.f32": np.ascontiguousarray(zoo.vocabulary[rows]).tobytes(),
            "digests.bin": b"".join(digests[row * DIGEST : (row + 1) * DIGEST] for row in rows),
            "labels.jsonl": b"".join(text_lines),
            "members.i32": members.astype(np.int32).tobytes(),
            "weights.f32": zoo.weights[index].tobytes(),
            LOG_FILE: b"".join(
                replace(record, start=int(start), rows=len(rows), text_bytes=text_bytes).encode()
                for record, start in zip(state.records.values(), heads, strict=True)
            ),
        }
        for name, data in contents.items():
            index_files.append(folder / name, 0, data)
        index_files.sync_folder(folder)
        changes = state.changes + 1
        # Reading the new log counts its records as changes, so the base is reduced by their number.
        index_files.write_current(self.path, folder.name, changes - len(state.records), self.encoder_id, self.dim)
        old = state.folder
        self._state = self._read_all()
        self._zoo, self._digests = None, None
        shutil.rmtree(old, ignore_errors=True)
