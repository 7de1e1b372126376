"""Label encoders by name, with a cache of vectors. Loading one takes a second or more, so a worker keeps them."""

import threading
from collections.abc import Sequence
from typing import Final

import numpy as np

from service.core.errors import JobFailed
from worker.errors import ComputationFailed
from worker.label_encoder import Check, StoppableEncoder, UnknownLabels, load_encoder, unchecked
from worker.label_space import Float32

_REMEMBERED: Final = 100_000
"""Texts whose vectors are kept; at 384 dimensions 150 MB."""


class RememberingEncoder:
    """An encoder that keeps the vectors of the texts it has encoded. Several threads may use it at the same time.

    No lock is held while vectors are computed: a long list delays no other job, and two jobs with the same new
    text at the same time both encode it.

    Parameters
    ----------
    encoder
        Computes the vectors.
    """

    def __init__(self, encoder: StoppableEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, Float32] = {}
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """See `LabelEncoder`."""
        return self._encoder.identity

    @property
    def dim(self) -> int:
        """See `LabelEncoder`."""
        return self._encoder.dim

    def encode(self, labels: Sequence[str], check: Check = unchecked) -> Float32:
        """See `LabelEncoder`."""
        if not labels:
            return self._encoder.encode(labels)
        with self._lock:
            rows = {text: row for text in labels if (row := self._known.get(text)) is not None}
        fresh = [text for text in dict.fromkeys(labels) if text not in rows]
        if fresh:
            rows |= self._encoded(fresh, labels, check)
        return np.stack([rows[text] for text in labels])

    def _encoded(self, fresh: list[str], labels: Sequence[str], check: Check) -> dict[str, Float32]:
        try:
            made = dict(zip(fresh, self._encoder.encode(fresh, check), strict=True))
        except UnknownLabels as error:
            unknown = {fresh[position] for position in error.positions}
            positions = [position for position, text in enumerate(labels) if text in unknown]
            raise UnknownLabels(positions, labels, error.encoder) from None
        with self._lock:
            if len(self._known) + len(made) > _REMEMBERED:
                self._known.clear()
            self._known.update(made)
        return made


class CheckedEncoder:
    """A shared encoder for one job: it stops when the job stops.

    Parameters
    ----------
    encoder
        Shared with other jobs.
    check
        Raises if the job must end.
    """

    def __init__(self, encoder: StoppableEncoder, check: Check) -> None:
        self._encoder = encoder
        self._check = check

    @property
    def identity(self) -> str:
        """See `LabelEncoder`."""
        return self._encoder.identity

    @property
    def dim(self) -> int:
        """See `LabelEncoder`."""
        return self._encoder.dim

    def encode(self, labels: Sequence[str]) -> Float32:
        """See `LabelEncoder`."""
        return self._encoder.encode(labels, self._check)


class Encoders:
    """Label encoders by name, loaded once.

    Parameters
    ----------
    default
        The encoder of requests that name none.
    """

    def __init__(self, default: str) -> None:
        self._default = default
        self._loaded: dict[str, StoppableEncoder] = {}
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, name: str | None) -> StoppableEncoder:
        """The encoder of this name. Loading one delays only the callers that request the same.

        Raises
        ------
        JobFailed
            There is no such encoder, or it cannot be loaded.
        """
        wanted = name or self._default
        with self._lock:
            if wanted in self._loaded:
                return self._loaded[wanted]
            loading = self._loading.setdefault(wanted, threading.Lock())
        with loading:
            if wanted not in self._loaded:
                try:
                    self._loaded[wanted] = RememberingEncoder(load_encoder(wanted))
                except (ValueError, OSError, ComputationFailed) as error:
                    raise JobFailed(f"the label encoder {wanted!r} cannot be used: {error}") from error
            return self._loaded[wanted]
