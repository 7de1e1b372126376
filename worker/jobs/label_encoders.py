"""Label encoders by name, with a memory. Loading one takes a second or more, so a worker keeps them."""

import threading
from collections.abc import Sequence
from typing import Final

import numpy as np

from service.core.errors import JobFailed, PreceptorError
from worker.label_encoder import LabelEncoder, load_encoder
from worker.label_space import Float32

_REMEMBERED: Final = 100_000
"""Texts whose vectors are kept; at 384 dimensions 150 MB."""


class RememberingEncoder:
    """An encoder that encodes no text twice. May be used by several threads.

    Parameters
    ----------
    encoder
        Does the work, for one thread at a time.
    """

    def __init__(self, encoder: LabelEncoder) -> None:
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

    def encode(self, labels: Sequence[str]) -> Float32:
        """See `LabelEncoder`."""
        if not labels:
            return self._encoder.encode(labels)
        with self._lock:
            rows = {text: self._known.get(text) for text in labels}
            fresh = [text for text, row in rows.items() if row is None]
            if fresh:
                made = dict(zip(fresh, self._encoder.encode(fresh), strict=True))
                rows.update(made)
                if len(self._known) + len(made) > _REMEMBERED:
                    self._known.clear()
                self._known.update(made)
        return np.stack([row for text in labels if (row := rows[text]) is not None])


class Encoders:
    """Label encoders by name, loaded once.

    Parameters
    ----------
    default
        The name that is meant where a request names none.
    """

    def __init__(self, default: str) -> None:
        self._default = default
        self._loaded: dict[str, LabelEncoder] = {}
        self._lock = threading.Lock()

    def get(self, name: str | None) -> LabelEncoder:
        """The encoder of this name.

        Raises
        ------
        JobFailed
            There is none.
        """
        wanted = name or self._default
        with self._lock:
            if wanted not in self._loaded:
                try:
                    self._loaded[wanted] = RememberingEncoder(load_encoder(wanted))
                except (ValueError, OSError, PreceptorError) as error:
                    raise JobFailed(f"the label encoder {wanted!r} cannot be used: {error}") from error
            return self._loaded[wanted]
