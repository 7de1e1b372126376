"""Runs a teacher over a probe, and packs what it said into bytes for a cache. Which cache is not known here."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as safetensors_numpy

from preceptor.contract.teachers import Source
from worker.errors import ComputationFailed

from .errors import TeacherUnusable, reason_of
from .interface import Batch, Float32, LoadedTeacher, Outputs, length, part

_FORMAT: Final = "preceptor-outputs-1"


class RunStopped(Exception):
    """The run was stopped before it had processed all items."""


@dataclass(frozen=True)
class TeacherOutputs:
    """What a teacher says of a whole probe.

    Attributes
    ----------
    logits
        Shape (N, K), float32.
    features
        Shape (N, D), float32; None where the model does not show them.
    """

    logits: Float32
    features: Float32 | None = None

    def probabilities(self, temperature: float = 1.0) -> Float32:
        """Softmax of the logits over `temperature`, shape (N, K), float32."""
        scaled = self.logits.astype(np.float64) / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        values = np.exp(scaled)
        return (values / values.sum(axis=1, keepdims=True)).astype(np.float32)


def run_teacher(
    loaded: LoadedTeacher,
    batches: Iterable[Batch],
    *,
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TeacherOutputs:
    """Run a teacher over all items of a probe, in order.

    Parameters
    ----------
    loaded
        The teacher.
    batches
        The probe; batches larger than `batch_size` are split.
    batch_size
        Most items in one forward pass.
    on_batch
        Called with the number of items done so far, after every forward pass.
    should_stop
        Asked before every forward pass.

    Raises
    ------
    RunStopped
        `should_stop` said so.
    TeacherUnusable
        The teacher failed on an item, gave numbers that are not finite, or changed its number of outputs.
    InvalidItems
        An item cannot be read.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    logits: list[Float32] = []
    features: list[Float32] | None = []
    done = 0
    for batch in batches:
        for begin in range(0, length(batch), batch_size):
            if should_stop is not None and should_stop():
                raise RunStopped(f"stopped after {done} items")
            piece = part(batch, begin, begin + batch_size)
            given = _predict(loaded, piece)
            if logits and given.logits.shape[1] != logits[0].shape[1]:
                raise TeacherUnusable(
                    f"the teacher gave {given.logits.shape[1]} outputs for item {piece.start} but "
                    f"{logits[0].shape[1]} before; export it with a fixed number of outputs"
                )
            logits.append(given.logits)
            if features is not None and given.features is not None:
                features.append(given.features)
            else:
                features = None
            done += length(piece)
            if on_batch is not None:
                on_batch(done)
    if not logits:
        return TeacherOutputs(np.zeros((0, loaded.classes or 0), dtype=np.float32))
    return TeacherOutputs(np.concatenate(logits), np.concatenate(features) if features else None)


def _predict(loaded: LoadedTeacher, batch: Batch) -> Outputs:
    try:
        given = loaded.predict(batch)
    except ComputationFailed:
        raise
    except Exception as error:
        raise TeacherUnusable(reason_of(error, doing="run")) from error
    items = length(batch)
    if given.logits.shape[0] != items:
        raise TeacherUnusable(
            f"the teacher gave {given.logits.shape[0]} rows for {items} items; it must give one row an item"
        )
    for name, values in (("outputs", given.logits), ("features", given.features)):
        if values is not None and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).reshape(items, -1).all(axis=1))[0])
            raise TeacherUnusable(
                f"the teacher's {name} are not finite for item {batch.start + row} (NaN or infinity); "
                f"check its weights and its preprocessing"
            )
    return given


def outputs_key(digest: str, source: Source, probe_id: str) -> str:
    """The name of cached outputs: a hash of the teacher's digest, its preprocessing and the probe.

    Returns
    -------
    str
        SHA-256 in hexadecimal; the caller adds its own prefix.
    """
    described = json.dumps([_FORMAT, digest, source.model_dump(mode="json"), probe_id], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def encode_outputs(outputs: TeacherOutputs, *, half: bool = False) -> bytes:
    """Outputs as safetensors bytes.

    Parameters
    ----------
    outputs
        What is to be kept.
    half
        Keep float16, half the size. The largest absolute error of each array is measured and kept beside it
        (`precision_loss`). An array with values beyond float16's range stays float32.
    """
    arrays: dict[str, NDArray[Any]] = {}
    kept: dict[str, str] = {"format": _FORMAT}
    for name, values in (("logits", outputs.logits), ("features", outputs.features)):
        if values is None:
            continue
        arrays[name] = np.ascontiguousarray(values, dtype=np.float32)
        if half and (not values.size or np.abs(values).max() <= np.finfo(np.float16).max):
            short = values.astype(np.float16)
            error = np.abs(short.astype(np.float32) - values).max(initial=0.0)
            arrays[name] = short
            kept[f"{name}_error"] = repr(float(error))
    return safetensors_numpy.save(arrays, metadata=kept)


def decode_outputs(data: bytes) -> TeacherOutputs:
    """The inverse of `encode_outputs`, always float32.

    Raises
    ------
    ValueError
        The bytes are not such outputs: another format, or cut off.
    """
    try:
        if _metadata(data).get("format") != _FORMAT:
            raise ValueError("another format")
        arrays = safetensors_numpy.load(data)
        logits = arrays["logits"].astype(np.float32)
    except Exception as error:
        raise ValueError(f"not the outputs of a teacher: {error}") from None
    features = arrays.get("features")
    return TeacherOutputs(logits, None if features is None else features.astype(np.float32))


def precision_loss(data: bytes) -> dict[str, float]:
    """Largest absolute error of each array that was kept as float16, by name."""
    kept = _metadata(data)
    return {key.removesuffix("_error"): float(kept[key]) for key in kept if key.endswith("_error")}


def _metadata(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]).get("__metadata__", {})
