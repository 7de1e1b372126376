"""What a model's raw outputs are (logits, probabilities, one sigmoid per label), and how they become logits.

The final activation is undone: the same model has the same logits with and without its softmax or sigmoid.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.teachers import OutputKind

from .errors import TeacherUnusable
from .interface import Float32

_SMALLEST: Final = np.float32(1e-12)
_SUM_TOLERANCE: Final = 0.02
"""Half precision and outputs that were rounded to two decimals stay within it."""
_RANGE_TOLERANCE: Final = 1e-4
_CALLED_PROBABILITIES: Final = re.compile(r"soft_?max|sigmoid|prob", re.IGNORECASE)
_CALLED_LOGITS: Final = re.compile(r"logit|log_?prob|log_?soft_?max", re.IGNORECASE)
_ASK: Final = "If they are probabilities, register the teacher with source.output 'probabilities'"


@dataclass(frozen=True)
class Finding:
    """What raw outputs were taken for.

    Attributes
    ----------
    kind
        How `as_logits` is to read them.
    warning
        What the owner should know about the decision; None where there was nothing to decide.
    """

    kind: OutputKind
    warning: str | None = None


def as_matrix(values: Float32) -> Float32:
    """Outputs as one row per item: axes of length 1 behind the batch are dropped.

    Parameters
    ----------
    values
        Shape (B, K), (B, K, 1, 1), (B, 1, K), (B,), ..., with one axis of classes at most.

    Raises
    ------
    TeacherUnusable
        There is more than one axis behind the batch.
    """
    shape = values.shape
    wide = [side for side in shape[1:] if side != 1]
    if not shape or len(wide) > 1:
        raise TeacherUnusable(
            f"the model's output has the shape {shape}; a classifier returns (items, labels). Export the model with "
            "its pooling and its classification head"
        )
    return np.ascontiguousarray(values, dtype=np.float32).reshape(shape[0], wide[0] if wide else 1)


def as_logits(values: Float32, kind: OutputKind, *, labels: int | None = None) -> Float32:
    """A model's output as logits: softmax gives its probabilities back.

    Parameters
    ----------
    values
        Shape (B, K), or as `as_matrix` takes it, float32.
    kind
        ``logits`` stay; of ``probabilities`` the natural logarithm is taken (at least log 1e-12);
        ``independent_probabilities`` p become log(p / (1 - p)), what went into the sigmoid.
    labels
        Number of labels. A single output for two labels is the score of the second one.

    Returns
    -------
    ndarray
        Shape (B, K), float32, contiguous.

    Raises
    ------
    TeacherUnusable
        The output is no matrix, or is registered as probabilities and is not.
    """
    values = as_matrix(values)
    if values.shape[1] == 1 and labels == 2:
        return _binary(values, kind)
    if kind == "logits":
        return values
    if kind == "independent_probabilities":
        _check_range(values)
        return _log_odds(values)
    sums = values.sum(axis=1, dtype=np.float64)
    if values.size and not (_in_unit_range(values) and np.abs(sums - 1).max() <= _SUM_TOLERANCE):
        raise TeacherUnusable(_no_probabilities(values, sums))
    normalised = values / sums[:, None].astype(np.float32)
    return np.log(np.maximum(normalised, _SMALLEST), dtype=np.float32)


def _binary(values: Float32, kind: OutputKind) -> Float32:
    if kind != "logits":
        _check_range(values)
        values = _log_odds(values)
    return np.concatenate([np.zeros_like(values), values], axis=1)


def _log_odds(values: Float32) -> Float32:
    # Float32 cannot tell 1 - 1e-9 from 1: where p is rounded to 1, the odds are those of the nearest smaller number.
    p = np.clip(values.astype(np.float64), float(_SMALLEST), 1 - 2.0**-25)
    return (np.log(p) - np.log1p(-p)).astype(np.float32)


def _in_unit_range(values: Float32) -> bool:
    return bool(values.size and values.min() >= -_RANGE_TOLERANCE and values.max() <= 1 + _RANGE_TOLERANCE)


def _check_range(values: Float32) -> None:
    if values.size and not _in_unit_range(values):
        raise TeacherUnusable(
            f"the outputs are registered as probabilities, but range from {values.min():.4g} to {values.max():.4g}; "
            "register output 'logits', or add the missing softmax or sigmoid to the model"
        )


def _no_probabilities(values: Float32, sums: NDArray[np.float64]) -> str:
    worst = int(np.abs(sums - 1).argmax())
    found = (
        f"the output is registered as probabilities, but a row sums to {sums[worst]:.4g} and the smallest value is "
        f"{values.min():.4g}"
    )
    if _in_unit_range(values):
        return f"{found}; export the model with one output per label and a softmax over the labels"
    return f"{found}; register output 'logits', or add a softmax to the model"


def are_probabilities(values: Float32) -> bool:
    """Whether every row lies in 0..1 and sums to 1: what no logits do."""
    if not _in_unit_range(values) or values.shape[1] < 2:
        return False
    return bool(np.abs(values.sum(axis=1, dtype=np.float64) - 1).max() <= 1e-2)


def recognise(values: Float32, registered: OutputKind, *, labels: int, name: str = "", activation: str = "") -> Finding:
    """Decide what raw outputs are, from the numbers, the end of the graph and the name of the output.

    Parameters
    ----------
    values
        Raw outputs on a varied sample, shape (N, K), float32, at least a dozen rows.
    registered
        As registered; ``logits`` is also what an owner registers who gives nothing.
    labels
        Number of labels.
    name
        Name of the output in the model's file.
    activation
        ``softmax`` or ``sigmoid`` where the graph ends in it, else empty.

    Raises
    ------
    TeacherUnusable
        They are registered as probabilities and cannot be any.
    """
    if values.shape[1] == 1 and labels == 2:
        return _recognise_binary(values, registered, activation, name)
    called = bool(_CALLED_PROBABILITIES.search(name)) and not _CALLED_LOGITS.search(name)
    if registered == "probabilities":
        return _check_registered(values)
    if are_probabilities(values):
        return Finding("probabilities", "every row of the outputs sums to 1: they were taken for probabilities")
    if _in_unit_range(values):
        if activation == "sigmoid" or called:
            return Finding("independent_probabilities", _INDEPENDENT)
        if _CALLED_LOGITS.search(name):
            return Finding("logits")
        return Finding("logits", f"all outputs lie between 0 and 1, and were taken for logits. {_ASK}")
    if called:
        return Finding(
            "logits",
            f"the output is called {name[:80]!r}, but ranges from {values.min():.4g} to {values.max():.4g}: it was "
            "taken for logits",
        )
    return Finding("logits")


_INDEPENDENT: Final = (
    "the model scores each label independently (sigmoid): the scores were taken as log odds, and labels as exclusive"
)


def _check_registered(values: Float32) -> Finding:
    sums = values.sum(axis=1, dtype=np.float64)
    if _in_unit_range(values):
        if np.abs(sums - 1).max(initial=0) <= _SUM_TOLERANCE:
            return Finding("probabilities")
        return Finding("independent_probabilities", _INDEPENDENT)
    exponentials = np.exp(np.minimum(values, 1), dtype=np.float64).sum(axis=1)
    if values.max(initial=0) <= 1e-4 and np.abs(exponentials - 1).max(initial=0) <= _SUM_TOLERANCE:
        return Finding("logits", "the outputs are logarithms of probabilities, and were taken for them")
    raise TeacherUnusable(_no_probabilities(values, sums))


def _recognise_binary(values: Float32, registered: OutputKind, activation: str, name: str) -> Finding:
    within = _in_unit_range(values)
    if within:
        certain = activation == "sigmoid" or registered != "logits" or bool(_CALLED_PROBABILITIES.search(name))
        return Finding(
            "independent_probabilities",
            "the model has one output for two labels: it was taken for the probability of the second label"
            + ("" if certain else ", because it lies between 0 and 1 on every sample item"),
        )
    if registered == "probabilities":
        _check_range(values)
    return Finding(
        "logits", "the model has one output for two labels: it was taken for the log odds of the second label"
    )


class FinalActivation:
    """The softmax or sigmoid at the end of a graph, to be undone by reading what goes into it.

    Parameters
    ----------
    name
        ``softmax``, ``log_softmax`` or ``sigmoid``.

    Attributes
    ----------
    verified
        Whether it was computed once from its input, and gave the model's output.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.verified = False

    def verify(self, before: Float32, scores: Float32) -> bool:
        """Whether the activation, applied over the labels of `before`, gives `scores`: its axis may be another one."""
        try:
            made, given = self._applied(as_matrix(before)), as_matrix(scores)
        except TeacherUnusable:
            return False
        self.verified = made.shape == given.shape and bool(np.allclose(made, given, atol=2e-3, rtol=1e-2))
        return self.verified

    def _applied(self, before: Float32) -> Float32:
        if self.name == "sigmoid":
            return (1 / (1 + np.exp(-np.clip(before.astype(np.float64), -700, 700)))).astype(np.float32)
        normalised = _log_softmax(before)
        return normalised if self.name == "log_softmax" else np.exp(normalised)

    def logits(self, before: Float32, *, labels: int) -> Float32:
        """Logits, shape (B, K), float32; of a softmax the logarithms of its probabilities."""
        if self.name == "sigmoid":
            return as_logits(before, "logits", labels=labels)
        return _log_softmax(as_matrix(before))


def _log_softmax(values: Float32) -> Float32:
    shifted = values.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))).astype(np.float32)


def choose_output(
    found: Sequence[tuple[str, tuple[int | None, ...] | None]], *, labels: int, wanted: str | None
) -> int:
    """Which of a model's outputs holds the class scores.

    Parameters
    ----------
    found
        Name and shape of each output of floating-point numbers; None for an unknown side or shape.
    labels
        Number of labels.
    wanted
        `output_name` of the registration.

    Returns
    -------
    int
        Its position in `found`.

    Raises
    ------
    TeacherUnusable
        Several fit, none fits, or none has the wanted name.
    """
    names = [name for name, _ in found]
    listed = ", ".join(f"{name[:80]!r} ({_shown(shape)})" for name, shape in found[:8])
    if wanted is not None:
        if wanted not in names:
            raise TeacherUnusable(
                f"source.output_name is {wanted[:80]!r}, but the model has {listed or 'no output of class scores'}; "
                "correct output_name"
            )
        return names.index(wanted)
    if not found:
        raise TeacherUnusable(
            "the model returns class numbers only; a teacher needs a score for every label. Export the model with its "
            "probabilities or logits as an output"
        )
    if len(found) == 1:
        return 0
    for name in ("logits", "probabilities"):
        if name in names:
            return names.index(name)
    fitting = [position for position, (_, shape) in enumerate(found) if _width(shape) == labels]
    if len(fitting) == 1:
        return fitting[0]
    raise TeacherUnusable(
        f"the model has {len(found)} outputs: {listed}; {len(fitting) or 'none'} of them "
        f"{'fit' if len(fitting) != 1 else 'fits'} {labels} labels. Set source.output_name to the one with the class "
        "scores"
    )


def _width(shape: tuple[int | None, ...] | None) -> int | None:
    if shape is None or len(shape) < 2:
        return None
    wide = [side for side in shape[1:] if side != 1]
    return wide[0] if len(wide) == 1 else None


def _shown(shape: tuple[int | None, ...] | None) -> str:
    return "unknown shape" if shape is None else " x ".join("any" if side is None else str(side) for side in shape)
