"""State of an index of label embeddings as read by a handle, and the view of it that a query searches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.transport import index_files
from worker.transport.index_files import LOG_FILE, DamagedIndexError, Record


@dataclass(frozen=True, eq=False)
class Zoo:
    """The data of a query: one consistent, immutable view of the index.

    Attributes
    ----------
    teachers : tuple of str
        M ids.
    starts, counts : ndarray, shape (M,), int64
        Teacher m's labels are ``members[starts[m] : starts[m] + counts[m]]``.
    members : ndarray, int32
        Rows of the vocabulary.
    weights : ndarray, float32
        Priors, aligned with ``members``; each teacher's sum to 1 up to rounding.
    vocabulary : ndarray, shape (V, d), float32
        Unit rows.
    concentrations : ndarray, shape (M,), float64
        Squared norm of each teacher's mean embedding.
    families : ndarray, shape (M,), int64
        Teachers with the same number have the same labels and priors.
    generation : int
        Number of changes since the index was created.
    """

    teachers: tuple[str, ...]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    members: NDArray[np.int32]
    weights: NDArray[np.float32]
    vocabulary: NDArray[np.float32]
    concentrations: NDArray[np.float64]
    families: NDArray[np.int64]
    generation: int

    def positions(self, teachers: Sequence[str]) -> NDArray[np.int64]:
        """Positions of the given ids.

        Raises
        ------
        KeyError
            An id that is not in the index.
        """
        place = {teacher: position for position, teacher in enumerate(self.teachers)}
        return np.array([place[teacher] for teacher in teachers], dtype=np.int64)


@dataclass(slots=True)
class IndexState:
    """State of the current folder as read by one handle.

    Attributes
    ----------
    dim : int
        d, length of an embedding.
    changes : int
        Number of changes since the index was created, including those before the folder's log.
    records : dict
        By teacher, in the order of the log.
    log_end, rows, text_bytes, members : int
        Size of each file according to the records: bytes, vocabulary rows, bytes, members.
    """

    folder: Path
    dim: int
    changes: int
    records: dict[str, Record] = field(default_factory=dict[str, Record])
    log_end: int = 0
    rows: int = 0
    text_bytes: int = 0
    members: int = 0

    def read_more(self) -> None:
        """Read new records of the log.

        Raises
        ------
        FileNotFoundError
            No log.
        DamagedIndexError
        """
        with (self.folder / LOG_FILE).open("rb") as log:
            log.seek(self.log_end)
            data = log.read()
        base = self.log_end
        for record, end in index_files.decode(data):
            self._take(record, base + end)
        if self.log_end > base:
            index_files.check_sizes(self.folder, self.dim, self.rows, self.text_bytes, self.members)

    def _take(self, record: Record, end: int) -> None:
        if record.added:
            self.records[record.teacher] = record
        else:
            self.records.pop(record.teacher, None)
        self.rows, self.text_bytes = max(self.rows, record.rows), max(self.text_bytes, record.text_bytes)
        self.members = max(self.members, record.start + record.count)
        self.changes += 1
        self.log_end = end

    def view(self) -> Zoo:
        """The view of the index as last read.

        Raises
        ------
        DamagedIndexError
        """
        records = list(self.records.values())
        numbers: dict[bytes, int] = {}
        members = index_files.mapped(self.folder / "members.i32", np.int32, (self.members,))
        if self.members and not (int(members.min()) >= 0 and int(members.max()) < self.rows):
            # The compiled loops would read outside the vocabulary.
            raise DamagedIndexError(self.folder / "members.i32", f"refers to rows above the {self.rows} that exist")
        return Zoo(
            teachers=tuple(record.teacher for record in records),
            starts=np.array([record.start for record in records], dtype=np.int64),
            counts=np.array([record.count for record in records], dtype=np.int64),
            members=members,
            weights=index_files.mapped(self.folder / "weights.f32", np.float32, (self.members,)),
            vocabulary=index_files.mapped(self.folder / "vocabulary.f32", np.float32, (self.rows, self.dim)),
            concentrations=np.array([record.concentration for record in records], dtype=np.float64),
            families=np.array(
                [numbers.setdefault(record.signature, len(numbers)) for record in records], dtype=np.int64
            ),
            generation=self.changes,
        )
