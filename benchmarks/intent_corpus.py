"""Intent collections (CLINC150, Banking77) as Parquet with the columns text and label, and a labels.json file."""

import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.label_encoder import DEFAULT_ENCODER, load_encoder

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

_HASHED = 1024


@dataclass
class Corpus:
    """A labelled text collection with its vectors; its items are split between teachers and students."""

    name: str
    folder: Path

    @cached_property
    def described(self) -> dict:
        """Class names and, for CLINC150, domains."""
        return json.loads((self.folder / self.name / "labels.json").read_text(encoding="utf-8"))

    @cached_property
    def names(self) -> list[str]:
        """Class names."""
        return self.described["names"]

    @cached_property
    def texts(self) -> list[str]:
        """Training texts, followed by test texts."""
        return self._read("train")[0] + self._read("test")[0]

    @cached_property
    def labels(self) -> Int64:
        """Classes of the texts."""
        return np.concatenate([self._read("train")[1], self._read("test")[1]])

    @cached_property
    def test_from(self) -> int:
        """Index of the first test text."""
        return len(self._read("train")[0])

    @cached_property
    def static(self) -> Float32:
        """Static vectors of all texts."""
        return load_encoder("wordllama").encode(self.texts)

    @cached_property
    def hashed(self) -> Float32:
        """Hashed bags of words of all texts, unit rows."""
        rows = np.zeros((len(self.texts), _HASHED), dtype=np.float32)
        for row, text in zip(rows, self.texts, strict=True):
            for word in text.lower().split():
                row[zlib.crc32(word.encode()) % _HASHED] += 1
            row /= max(float(np.linalg.norm(row)), 1e-9)
        return rows

    @cached_property
    def points(self) -> Float32:
        """Embeddings of the class names."""
        return load_encoder(DEFAULT_ENCODER).encode(self.names)

    def domain(self, name: str) -> Int64:
        """Classes of one of CLINC150's domains."""
        return np.array([self.names.index(member) for member in self.described["domains"][name]])

    def halves(self, seed: int) -> tuple[Int64, Int64]:
        """Training rows for teachers and for students."""
        order = np.random.default_rng(seed).permutation(self.test_from)
        return order[: len(order) // 2], order[len(order) // 2 :]

    def _read(self, part: str) -> tuple[list[str], Int64]:
        import pyarrow.parquet as parquet

        table = parquet.read_table(self.folder / self.name / f"{part}.parquet").to_pydict()
        return table["text"], np.asarray(table["label"], dtype=np.int64)
