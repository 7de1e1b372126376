"""Distances between label sets: encoded labels, ground costs, and their caches."""

import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import CacheUse
from service.core.labels.student_labels import placeholders_of
from worker.label_encoder import LabelEncoder, UnknownLabels
from worker.transport.ground_cost import cosine_cost

Float32 = NDArray[np.float32]

UNKNOWN: Final = 1.0
"""Ground cost of a label without a vector: that of two unrelated labels."""


class BytesCache(Protocol):
    """A cache of bytes, keyed by the parts that they were computed from."""

    def get(self, parts: Sequence[str]) -> bytes | None:
        """The cached bytes, or None."""
        ...

    def put(self, parts: Sequence[str], value: bytes) -> None:
        """Store bytes."""
        ...


class LabelSpace:
    """Labels as vectors of one encoder, and ground costs between label sets.

    Parameters
    ----------
    encoder
        Its identity is part of every cache key.
    costs
        Cache of cost matrices.
    pairs
        Costs set by hand, which replace the encoder's; keyed by teacher label and student label.
    """

    def __init__(
        self, encoder: LabelEncoder, costs: BytesCache, pairs: Mapping[tuple[str, str], float] | None = None
    ) -> None:
        self.encoder = encoder
        self._costs = costs
        self._pairs = pairs or {}
        self.use = CacheUse()
        self.encoding_seconds = 0.0

    def embed(self, labels: LabelSetBody) -> Float32:
        """Embeddings of a label set, shape (n, d), unit rows: those that it contains, otherwise the encoder's."""
        if labels.embeddings is not None:
            own = np.asarray(labels.embeddings, dtype=np.float32)
            return own / np.linalg.norm(own, axis=1, keepdims=True)
        return self._encoded(_texts(labels))

    def _encoded(self, texts: list[str]) -> Float32:
        started = time.perf_counter()
        try:
            return self.encoder.encode(texts)
        finally:
            self.encoding_seconds += time.perf_counter() - started

    def embed_known(self, labels: LabelSetBody) -> Float32:
        """As `embed`, with a row of zeros for every label that the encoder does not know or that is a placeholder."""
        texts = _texts(labels)
        empty = set(placeholders_of(labels))  # LABEL_0: the encoder has a vector for it, and it says nothing
        unknown = {place for place, name in enumerate(labels.labels) if name in empty}
        if not unknown:
            try:
                return self.embed(labels)
            except UnknownLabels as error:
                unknown = set(error.positions)
        known = [place for place in range(len(texts)) if place not in unknown]
        rows = np.zeros((len(texts), self.encoder.dim), dtype=np.float32)
        if known:
            rows[known] = self._encoded([texts[place] for place in known])
        return rows

    def cost(self, teacher: LabelSetBody, student: LabelSetBody) -> tuple[Float32, bool]:
        """Ground cost C = 1 - cos, shape (K, S), with the pairs set by hand; and whether it came from the cache.

        Raises
        ------
        UnknownLabels
            A pair has no cost, because one of its labels has no word in the encoder's vocabulary.
        """
        cost, hit = self.known_cost(teacher, student)
        if np.isnan(cost).any():
            self.embed(student)
            self.embed(teacher)
        return cost, hit

    def known_cost(self, teacher: LabelSetBody, student: LabelSetBody) -> tuple[Float32, bool]:
        """As `cost`, with NaN for pairs without a cost."""
        cost, hit = self._encoded_cost(teacher, student)
        if not self._pairs:
            return cost, hit
        rows = {label: row for row, label in enumerate(teacher.labels)}
        columns = {label: column for column, label in enumerate(student.labels)}
        cost = cost.copy()
        for (one, other), value in self._pairs.items():
            if one in rows and other in columns:
                cost[rows[one], columns[other]] = value
        return cost, hit

    def _encoded_cost(self, teacher: LabelSetBody, student: LabelSetBody) -> tuple[Float32, bool]:
        key = [self.encoder.identity, teacher.identity(), student.identity()]
        if placeholders_of(student) or placeholders_of(teacher):
            key.append("without placeholders")
        shape = (len(teacher.labels), len(student.labels))
        data = self._costs.get(key)
        if data is not None and len(data) == 4 * shape[0] * shape[1]:
            self.use.hits += 1
            return np.frombuffer(data, dtype=np.float32).reshape(shape), True
        self.use.misses += 1
        rows, columns = self.embed_known(teacher), self.embed_known(student)
        known = np.ix_(rows.any(axis=1), columns.any(axis=1))
        cost = np.full(shape, np.nan, dtype=np.float32)
        if cost[known].size:
            vectors = (torch.from_numpy(side[side.any(axis=1)]) for side in (rows, columns))
            cost[known] = cosine_cost(*vectors).numpy()
        if np.isnan(cost).any():
            # Equal names have cost 0, even if the encoder has no vector for them.
            places = {text: column for column, text in enumerate(_texts(student))}
            for row, text in enumerate(_texts(teacher)):
                if text in places and np.isnan(cost[row, places[text]]):
                    cost[row, places[text]] = 0
        self._costs.put(key, np.ascontiguousarray(cost, dtype=np.float32).tobytes())
        return cost, False


def without_gaps(cost: Float32) -> Float32:
    """A cost of `LabelSpace.known_cost` with `UNKNOWN` for every pair without a cost."""
    gaps = np.isnan(cost)
    return np.where(gaps, np.float32(UNKNOWN), cost) if gaps.any() else cost


def _texts(labels: LabelSetBody) -> list[str]:
    described = labels.descriptions or {}
    return [described.get(label, label) for label in labels.labels]
