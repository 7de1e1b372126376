"""What a teacher's inputs and outputs look like, and what that says of a wrong preprocessing or a broken model."""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.teachers import ImagePreprocessing, Modality, TeacherFingerprint

from .interface import Float32
from .output_values import are_probabilities

_LARGEST_INPUT: Final = 256.0
"""Raw pixels reach 255; no model is trained on larger ones."""
_SMALLEST_CONTRAST: Final = 0.02
_SATURATED: Final = 0.95
_ONE_CLASS: Final = 0.95
_UNIFORM: Final = 0.998
_ENOUGH: Final = 20
"""Items of a probe from which on a share of predictions means something."""


def fingerprint(inputs: Mapping[str, NDArray[Any]] | None, logits: Float32, modality: Modality) -> TeacherFingerprint:
    """Describe what a teacher received and returned.

    Parameters
    ----------
    inputs
        Prepared inputs by name, batch first; None where they are not known.
    logits
        Shape (N, K), float32.
    """
    found = TeacherFingerprint(items=len(logits))
    floats = [array for array in (inputs or {}).values() if array.dtype.kind == "f" and array.size]
    if floats and modality != "text":
        values = floats[0].reshape(len(floats[0]), -1).astype(np.float32)
        low, high = float(values.min()), float(values.max())
        found.input_min, found.input_max = _rounded(low), _rounded(high)
        if modality == "image":
            spread = values.max(axis=1) - values.min(axis=1)
            found.constant_inputs = _rounded(float((spread < _SMALLEST_CONTRAST).mean()))
            margin = 1e-3 * (high - low)
            at_ends = ((values <= low + margin) | (values >= high - margin)).mean(axis=1)
            found.saturated_inputs = _rounded(float((at_ends >= _SATURATED).mean()))
    if logits.size:
        share, distinct = _largest_share(logits)
        found.output_min, found.output_max = _rounded(float(logits.min())), _rounded(float(logits.max()))
        found.predicted_classes, found.top_class_share = distinct, _rounded(share)
        found.entropy = _rounded(mean_entropy(logits))
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _largest_share(logits: Float32) -> tuple[float, int]:
    _, counts = np.unique(logits.argmax(axis=1), return_counts=True)
    return float(counts.max() / len(logits)), len(counts)


def mean_entropy(logits: Float32) -> float:
    """Mean entropy of the softmax, as a share of log K: 0 is certain, 1 is uniform."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(axis=1, keepdims=True)
    entropy = np.log(total[:, 0]) - (weights * shifted).sum(axis=1) / total[:, 0]
    return float(entropy.mean() / math.log(max(2, logits.shape[1])))


def sample_warnings(found: TeacherFingerprint, logits: Float32, modality: Modality) -> list[str]:
    """What the fingerprint of a varied sample says against a teacher."""
    warnings: list[str] = []
    if modality == "image" and found.input_min is not None and found.input_max is not None:
        largest = max(abs(found.input_min), abs(found.input_max))
        spread = found.input_max - found.input_min
        if largest > _LARGEST_INPUT:
            warnings.append(
                f"pixels reach the model as values from {found.input_min:g} to {found.input_max:g}; models are trained "
                f"on values between -256 and 256. mean and std are subtracted from and divided into pixels of 0..255: "
                f"multiply values for pixels of 0..1 by 255, or set rescale_factor to 1/255"
            )
        elif spread < 0.1:
            warnings.append(
                f"pixels reach the model as values from {found.input_min:g} to {found.input_max:g}, nearly without "
                "contrast; check mean, std and rescale_factor"
            )
        elif (found.constant_inputs or 0) >= 0.5:
            warnings.append(
                f"{found.constant_inputs:.0%} of varied pictures reach the model without contrast; check mean, std and "
                "rescale_factor"
            )
        if (found.saturated_inputs or 0) >= 0.5:
            warnings.append(
                f"{found.saturated_inputs:.0%} of varied pictures reach the model in black and white only; check mean, "
                "std and rescale_factor"
            )
    if len(logits) > 1 and float(np.ptp(logits, axis=0).max(initial=0)) <= 1e-5 * max(1.0, float(np.abs(logits).max())):
        warnings.append(
            f"the outputs are the same for all {len(logits)} items of a varied sample; check the weights and the "
            "preprocessing"
        )
    return warnings


def preprocessing_warnings(how: object) -> list[str]:
    """What the registered numbers of a picture's preprocessing say by themselves."""
    if not isinstance(how, ImagePreprocessing) or how.rescale_factor is not None:
        return []
    if for_unit_pixels(how):
        low = min((0 - m) / s for m, s in _pairs(how))
        high = max((255 - m) / s for m, s in _pairs(how))
        return [
            f"mean {_listed(how.mean)} and std {_listed(how.std)} are meant for pixels of 0..1, and were applied to "
            f"pixel / 255; on pixels of 0..255 the model would receive values from {low:,.0f} to {high:,.0f}. Set "
            "rescale_factor to 1/255 (0.00392156862745098) to confirm, or to 1 for pixels of 0..255"
        ]
    if 0 < max(how.mean) <= 1:
        return [
            f"mean {_listed(how.mean)} lies between 0 and 1, and pixels between 0 and 255: it changes nothing. "
            "Multiply it by 255, or set rescale_factor to 1/255 with a std for pixels of 0..1"
        ]
    return []


def for_unit_pixels(how: ImagePreprocessing) -> bool:
    """Whether mean and std can only be meant for pixels of 0..1: both below 1, as no model of 0..255 has them."""
    return all(0 <= m < 1 for m in how.mean) and all(0.05 <= s < 1 for s in how.std)


def _pairs(how: ImagePreprocessing) -> list[tuple[float, float]]:
    size = max(len(how.mean), len(how.std))
    means = how.mean * size if len(how.mean) == 1 else how.mean
    stds = how.std * size if len(how.std) == 1 else how.std
    return list(zip(means, stds, strict=False))


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def probe_warnings(logits: Float32, labels: list[str], classes: int | None = None) -> list[str]:
    """What a teacher's outputs over a whole probe say against it.

    Parameters
    ----------
    logits
        Shape (N, K), float32.
    labels
        The K labels of the teacher.
    classes
        Number of classes that occur in the probe, where it is labelled.

    Returns
    -------
    list of str
        Phrases that follow the teacher's name.
    """
    items, width = logits.shape
    if items < _ENOUGH or width < 2:
        return []
    if are_probabilities(logits):
        return [
            "its outputs sum to 1 for every item, and were taken for logits: if they are probabilities, register it "
            "with source.output 'probabilities'"
        ]
    share, _ = _largest_share(logits)
    entropy = mean_entropy(logits)
    if entropy >= _UNIFORM:
        return [
            f"its predictions are nearly uniform over its labels (entropy {entropy:.1%} of the maximum): check its "
            "weights, its preprocessing, and whether its outputs are logits"
        ]
    if share >= _ONE_CLASS and (classes is None or classes > 1):
        top = int(np.bincount(logits.argmax(axis=1)).argmax())
        name = labels[top] if top < len(labels) else str(top)
        whole = "all" if share == 1.0 else f"{share:.0%} of"
        return [f"it predicts {name!r} for {whole} {items} items: check its preprocessing and its labels"]
    return []
