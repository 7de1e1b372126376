"""Which items a step sees: a shuffle of its own for every pass, all of it following from (seed, step)."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

LABELLED: Final = 1
TRANSFER: Final = 2
"""Streams: each shuffles by itself."""


def mixed(seed: int, number: int) -> int:
    """One seed of two numbers, far apart for neighbours."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> 1)


def chosen(items: int, step: int, batch_size: int, seed: int, *, stream: int) -> Tensor:
    """The items of a step: each pass over them is a new shuffle, and passes follow each other without a gap."""
    size = min(batch_size, items)
    first = step * size
    rounds = {place // items for place in (first, first + size - 1)}
    order: list[Tensor] = []
    for round_ in sorted(rounds):
        generator = torch.Generator().manual_seed(mixed(seed, (round_ << 4) + stream))
        order.append(torch.randperm(items, generator=generator))
    places = torch.arange(first, first + size) - min(rounds) * items
    return torch.cat(order)[places]


def parts_of(rows: Tensor, parts: int) -> list[Tensor]:
    """Rows in at most so many parts, two or more each where there are two: batch norms fail on a single item."""
    parts = max(1, min(parts, len(rows) // 2))
    return [rows[part::parts] for part in range(parts)]
