"""The three workloads of the transport benchmark, generated from a seed: label geometry, predictions, zoos.

Labels are unit vectors around cluster centres, like words around topics. Costs are Euclidean distances scaled to median
1, so that eps is in units of the median. An item is near one student label; the logits of both sides are its similarity
to their labels plus noise, so that predictions and targets are correlated, as in practice.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DIMENSION = 256
_CLUSTERS = 24


@dataclass(frozen=True, slots=True)
class Batch:
    """Predictions (N, K), targets (N, S) and cost (K, S), float32; and the points whose distances are the cost."""

    predictions: Tensor
    targets: Tensor
    cost: Tensor
    teacher_points: Tensor
    student_points: Tensor


def _labels(generator: torch.Generator, centres: Tensor, count: int) -> Tensor:
    which = torch.randint(0, centres.shape[0], (count,), generator=generator)
    rows = centres[which] + 0.8 * torch.randn(count, DIMENSION, generator=generator) / DIMENSION**0.5
    return rows / rows.norm(dim=1, keepdim=True)


def _standard(rows: Tensor) -> Tensor:
    return (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True).clamp_min(1e-6)


def prediction_batch(items: int, teacher: int, student: int, *, sharpness: float = 2.0, seed: int = 0) -> Batch:
    """W1: softmax of ``sharpness`` times logits of unit variance on both sides."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(_CLUSTERS, DIMENSION, generator=generator)
    centres /= centres.norm(dim=1, keepdim=True)
    teachers, students = _labels(generator, centres, teacher), _labels(generator, centres, student)
    cost = torch.cdist(teachers.double(), students.double())
    scale = float(cost.median())
    cost = (cost / scale).float()
    origin = students[torch.randint(0, student, (items,), generator=generator)]
    item = origin + torch.randn(items, DIMENSION, generator=generator) / DIMENSION**0.5
    sides: list[Tensor] = []
    for labels in (teachers, students):
        logits = _standard(item @ labels.T) + 0.5 * torch.randn(items, labels.shape[0], generator=generator)
        sides.append(torch.softmax(sharpness * _standard(logits), dim=1))
    return Batch(sides[0].contiguous(), sides[1].contiguous(), cost.contiguous(), teachers / scale, students / scale)


@dataclass(frozen=True, slots=True)
class ZooCase:
    """W2: teachers as (id, labels, embeddings, prior), and a student's embeddings (S, d) and prior (S,)."""

    teachers: list[tuple[str, list[str], NDArray[np.float32], NDArray[np.float64]]]
    student: NDArray[np.float32]
    prior: NDArray[np.float64]


def zoo_case(teachers: int, *, share: float = 0.0, student: int = 20, seed: int = 0) -> ZooCase:
    """A zoo over one vocabulary; a ``share`` of the teachers has exactly the student's label set, with own priors.

    Teachers have 5 to 1000 labels, most of them fewer than 40; every prior is drawn from a flat Dirichlet.
    """
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(200, DIMENSION))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    words = 20_000
    topic = draw.integers(0, len(centres), size=words)
    vocabulary = centres[topic] + 0.8 * draw.normal(size=(words, DIMENSION)) / DIMENSION**0.5
    vocabulary = (vocabulary / np.linalg.norm(vocabulary, axis=1, keepdims=True)).astype(np.float32)
    by_topic = [np.flatnonzero(topic == t) for t in range(len(centres))]

    def label_set(size: int) -> NDArray[np.int64]:
        topics = draw.choice(len(centres), size=max(1, min(len(centres), size // 4)), replace=False)
        pool = np.concatenate([by_topic[t] for t in topics])
        return draw.choice(pool, size=min(size, len(pool)), replace=False)

    own = label_set(student)
    sizes = np.where(
        draw.random(teachers) < 0.9,
        draw.integers(5, 41, size=teachers),
        np.exp(draw.uniform(np.log(40), np.log(1000), size=teachers)).astype(int),
    )
    zoo = []
    for number in range(teachers):
        rows = own if draw.random() < share else label_set(int(sizes[number]))
        zoo.append(
            (f"t{number:06d}", [f"w{row}" for row in rows], vocabulary[rows], draw.dirichlet(np.ones(len(rows))))
        )
    return ZooCase(zoo, vocabulary[own], draw.dirichlet(np.ones(len(own))))
