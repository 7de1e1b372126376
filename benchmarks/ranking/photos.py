"""Photographs: clothes for the students, teachers of groups of Tiny ImageNet, or of all of ImageNet.

Group teachers are heads on features of EfficientNet-Lite 0 and 1; the two networks themselves, with 1,000 classes, are
teachers, too. The students' input is the output of the first half of EfficientNet-Lite 0, a small backbone without
names; they have five labels a class. ImageNet's clothes and the students' clothes are different pictures, and the label
sets overlap in part (a "hat" here, a "sombrero" there).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.photographs import SIDE, Pictures, features, logits, output
from benchmarks.ranking.heads import HeadData, trained
from benchmarks.ranking.vectors import kept_vectors
from benchmarks.ranking.world import Float32, Int64, Target, World, ZooTeacher
from examples.demo_zoo import imagenet
from worker.distillation.inputs import ArrayItems
from worker.label_encoder import DEFAULT_ENCODER, load_encoder

SIZE = 16
"""Classes of a size-matched teacher."""
_BLOCK = 7
"""Block, of 16, whose output is the students' input."""
_ITEMS = 50
_VARIANTS = (0, 1)
_MIXES = 6
_TESTS_FROM = 0.5
"""Share of the clothes used for tests."""


def world(folder: Path, kept: Path) -> World:
    """Run the networks (minutes, once), train the zoo and create the tasks.

    Parameters
    ----------
    folder
        Holds ``clothing/`` and ``tiny_imagenet/`` (train.parquet and labels.json).
    """
    clothes = [Pictures(folder / "clothing" / f"{part}.parquet") for part in ("train", "validation", "test")]
    names: list[str] = json.loads((folder / "clothing" / "labels.json").read_text())["names"]
    tiny = Pictures(folder / "tiny_imagenet" / "train.parquet")
    described = json.loads((folder / "tiny_imagenet" / "labels.json").read_text())
    pictures = [picture for part in clothes for picture in part.bytes] + tiny.bytes
    count = sum(len(part.bytes) for part in clothes)
    own = np.concatenate([part.labels for part in clothes])
    labels = np.concatenate([np.full(count, -1), tiny.labels])
    encoder = load_encoder(DEFAULT_ENCODER)
    zoo: list[ZooTeacher] = []
    for variant in _VARIANTS:
        vectors = kept_vectors(kept / f"photos-lite{variant}-{SIDE}.npy", lambda v=variant: features(v, pictures))
        zoo.extend(_zoo(f"lite{variant} head", vectors, labels, described, encoder.encode(described["names"])))
        zoo.append(_whole(variant, vectors, encoder.encode(imagenet.class_names())))
    seen = kept_vectors(kept / "clothes-early.npy", lambda: _early(pictures[:count]))
    order = np.random.default_rng(0).permutation(count)
    split = round(_TESTS_FROM * count)
    targets = [
        _target(name, names, encoder.encode(names), own, order[:split], order[split:], classes)
        for name, classes in _tasks(names)
    ]
    return World("photos", lambda rows: ArrayItems(features=seen[rows]), zoo, targets, transfer=1200, steps=80)


def _early(pictures: Sequence[bytes]) -> Float32:
    """Input of the students, standardised: the eighth block's channels, means of 2 x 2 fields, shape (N, 320)."""
    found = output(0, pictures, f"_blocks.{_BLOCK}.sum")
    side = found.shape[2] // 2
    fields = found[:, :, : 2 * side, : 2 * side].reshape(*found.shape[:2], 2, side, 2, side).mean(axis=(3, 5))
    flat = fields.reshape(len(found), -1)
    return ((flat - flat.mean(0)) / flat.std(0)).astype(np.float32)


def _zoo(
    family: str, vectors: Float32, labels: Int64, described: dict[str, list[str]], points: Float32
) -> Iterator[ZooTeacher]:
    rows = np.random.default_rng(1).permutation(np.flatnonzero(labels >= 0))
    scaled = (vectors / vectors.std()).astype(np.float32)
    half = len(rows) * 3 // 4
    head_data = HeadData(family, "linear", scaled, labels, described["names"], points, rows[:half], rows[half:], 0.003)
    groups = np.array(described["groups"])
    for group in sorted(set(described["groups"])):
        members = np.flatnonzero(groups == group)
        if len(members) >= 5:
            yield trained(head_data, group, members[:SIZE], _ITEMS)
    generator = np.random.default_rng(2)
    for place in range(_MIXES):
        yield trained(head_data, f"mix {place}", generator.permutation(len(groups))[:SIZE], _ITEMS)
    yield trained(
        head_data, "mix 0, noisy labels", np.random.default_rng(2).permutation(len(groups))[:SIZE], 8, noise=0.4
    )


def _whole(variant: int, vectors: Float32, points: Float32) -> ZooTeacher:
    weights = imagenet.read_weights(variant)
    parameters = sum(array.size for array in weights.values())
    # Accuracies published by the authors, at the networks' full resolution.
    accuracy = {0: 0.748, 1: 0.766}[variant]
    family = f"lite{variant} network"
    return ZooTeacher(
        f"ImageNet, {family}", family, imagenet.class_names(), points, logits(variant, vectors), accuracy, parameters
    )


def _tasks(names: list[str]) -> Iterator[tuple[str, Int64]]:
    order = np.random.default_rng(6).permutation(len(names))
    yield "clothing", np.arange(len(names))
    yield "clothing, first five", np.sort(order[:5])
    yield "clothing, other five", np.sort(order[5:])


def _target(
    name: str, names: list[str], points: Float32, own: Int64, pool: Int64, test: Int64, classes: Int64
) -> Target:
    def of(chosen: Int64) -> tuple[Int64, Int64]:
        mine = chosen[np.isin(own[chosen], classes)]
        return mine, np.searchsorted(classes, own[mine])

    return Target(name, "clothing", [names[c] for c in classes], points[classes], *of(pool), *of(test))
