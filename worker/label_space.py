"""Distances between label sets: encoded names, ground costs, and their caches."""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import CacheUse
from worker.label_encoder import LabelEncoder
from worker.transport.ground_cost import cosine_cost

Float32 = NDArray[np.float32]


class BytesCache(Protocol):
    """A cache of bytes under a digest of what they were made from."""

    def get(self, parts: Sequence[str]) -> bytes | None:
        """The cached bytes, or None."""
        ...

    def put(self, parts: Sequence[str], value: bytes) -> None:
        """Keep some bytes."""
        ...


class LabelSpace:
    """Label names of one encoder, as points; and ground costs between label sets.

    Parameters
    ----------
    encoder
        Its identity is part of every cache key.
    costs
        Cache of cost matrices.
    pairs
        Costs set by hand, after the encoder's: by teacher label and student label.
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
        """Embeddings of a label set, shape (n, d), unit rows: its own where it brings them, else the encoder's."""
        if labels.embeddings is not None:
            own = np.asarray(labels.embeddings, dtype=np.float32)
            return own / np.linalg.norm(own, axis=1, keepdims=True)
        described = labels.descriptions or {}
        texts = [described.get(label, label) for label in labels.labels]
        started = time.perf_counter()
        rows = self.encoder.encode(texts)
        self.encoding_seconds += time.perf_counter() - started
        return rows

    def cost(self, teacher: LabelSetBody, student: LabelSetBody) -> tuple[Float32, bool]:
        """Ground cost C = 1 - cos, shape (K, S), with the pairs set by hand; and whether it came from the cache."""
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
        shape = (len(teacher.labels), len(student.labels))
        data = self._costs.get(key)
        if data is not None and len(data) == 4 * shape[0] * shape[1]:
            self.use.hits += 1
            return np.frombuffer(data, dtype=np.float32).reshape(shape), True
        self.use.misses += 1
        cost = cosine_cost(torch.from_numpy(self.embed(teacher)), torch.from_numpy(self.embed(student))).numpy()
        self._costs.put(key, np.ascontiguousarray(cost, dtype=np.float32).tobytes())
        return cost, False
