"""Keeps the state of a job, so that a killed job resumes at its last step and ends with the same weights.

Every random choice of a step follows from (seed, step), so weights, optimiser and step number are the whole state of
a run. Finished runs are kept by name with the results that the rest of the job needs. States are safetensors
bytes: data, never a pickle.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from preceptor.contract.versions import stored_form

from ..inputs import Recipe, TeacherSignal, TrainingData

_FORMAT: Final = "preceptor-distillation-2"
"""Incremented when an equal recipe trains differently than before: a stopped run then starts from scratch."""


class Checkpoint(Protocol):
    """Storage for the state of a running distillation, so that another worker can resume it.

    Attributes
    ----------
    every_seconds
        Seconds between two writes.
    """

    @property
    def every_seconds(self) -> float: ...
    def load(self) -> bytes | None:
        """The last saved state, or None."""
        ...

    def save(self, state: bytes) -> None:
        """Keep a state; replaces the previous one."""
        ...


class Ledger:
    """The finished and running trainings of a job.

    Parameters
    ----------
    checkpoint
        None keeps everything in memory only.
    fingerprint
        Digest of everything that the job's weights depend on: a state of another job is not resumed.
    """

    def __init__(self, checkpoint: Checkpoint | None, fingerprint: str) -> None:
        self._checkpoint, self._fingerprint = checkpoint, fingerprint
        self._done: dict[str, dict[str, Tensor]] = {}
        self._running: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {}
        self._began = time.perf_counter()
        self._written: dict[str, float] = {}
        self._lock = threading.RLock()  # Runs may be trained side by side.
        stored = None if checkpoint is None else checkpoint.load()
        if stored is not None:
            self._read(stored)

    @property
    def every_seconds(self) -> float | None:
        """Seconds between two writes of a state; None without a checkpoint."""
        return None if self._checkpoint is None else self._checkpoint.every_seconds

    def finished(self, name: str) -> dict[str, Tensor] | None:
        """The result of a finished run, or None."""
        return self._done.get(name)

    def finish(self, name: str, left: dict[str, Tensor]) -> None:
        """Record the result of a finished run."""
        with self._lock:
            self._done[name] = left
            self._running.pop(name, None)

    def running(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state of an interrupted run, or None."""
        return self._running.get(name)

    def offer(
        self, name: str, state: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]], *, now: bool = False
    ) -> None:
        """Write the state if it is due, or `now`."""
        if self._checkpoint is None:
            return
        with self._lock:
            if not now and time.perf_counter() - self._written.get(name, self._began) < self._checkpoint.every_seconds:
                return
            tensors, facts = state()
            # A copy: this run continues while another one writes the states.
            kept = {key: tensor.detach().to("cpu", copy=True) for key, tensor in tensors.items()}
            self._running[name] = kept, facts
            self._checkpoint.save(self._bytes())
            self._written[name] = time.perf_counter()

    def _bytes(self) -> bytes:
        tensors: dict[str, Tensor] = {}
        index: dict[str, list[str]] = {}
        for number, (name, left) in enumerate(self._done.items()):
            index[name] = list(left)
            for place, tensor in enumerate(left.values()):
                tensors[f"done.{number}.{place}"] = tensor
        facts: dict[str, Any] = {"done": index, "running": []}
        for number, (name, (running, said)) in enumerate(self._running.items()):
            facts["running"].append({"name": name, "tensors": list(running), "facts": said})
            for place, tensor in enumerate(running.values()):
                tensors[f"run.{number}.{place}"] = tensor
        # One copy of each: safetensors rejects tensors that share memory.
        plain = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}
        return save(plain, {"format": _FORMAT, "fingerprint": self._fingerprint, "facts": json.dumps(facts)})

    def _read(self, stored: bytes) -> None:
        try:
            size = int.from_bytes(stored[:8], "little")
            header = json.loads(stored[8 : 8 + size])["__metadata__"]
            if header["format"] != _FORMAT or header["fingerprint"] != self._fingerprint:
                return
            facts, tensors = json.loads(header["facts"]), load(stored)
            done: dict[str, dict[str, Tensor]] = {}
            for number, (name, names) in enumerate(facts["done"].items()):
                done[name] = {key: tensors[f"done.{number}.{place}"] for place, key in enumerate(names)}
            running: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {}
            for number, run in enumerate(facts["running"]):
                held = {key: tensors[f"run.{number}.{place}"] for place, key in enumerate(run["tensors"])}
                running[run["name"]] = held, run["facts"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError):
            # A truncated, damaged or foreign state costs time, but does not fail the job.
            return
        self._done, self._running = done, running


def fingerprint(recipe: Recipe, data: TrainingData, teachers: list[TeacherSignal], device: str) -> str:
    """SHA-256 over the recipe, the labels and all outputs of the teachers."""
    digest = hashlib.sha256()

    def add(values: NDArray[Any] | None) -> None:
        if values is not None:
            digest.update(repr((values.shape, str(values.dtype))).encode())
            digest.update(np.ascontiguousarray(values).tobytes())

    # Options newer than a stopped run do not change its fingerprint while at their defaults: it resumes.
    facts = [
        stored_form(recipe.student)[0],
        stored_form(recipe.loss)[0],
        stored_form(recipe.training)[0],
        recipe.compare,
        data.label_names,
        dict(data.digests),
        [source.items if source is not None else None for source in (data.items, data.transfer, data.test)],
        device,
        torch.__version__,
        torch.get_num_threads(),
    ]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    add(data.labels)
    add(data.test_labels)
    for teacher in teachers:
        for values in (teacher.labelled_logits, teacher.transfer_logits, teacher.name_cost):
            add(values)
        for values in (teacher.labelled_features, teacher.transfer_features):
            add(values)
    return digest.hexdigest()


def as_tensor(facts: Any) -> Tensor:
    """JSON values as a tensor of bytes, to be stored with weights."""
    return torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)


def from_tensor(tensor: Tensor) -> Any:
    """The inverse of `as_tensor`."""
    return json.loads(tensor.numpy().tobytes())
