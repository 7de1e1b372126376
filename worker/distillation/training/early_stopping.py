"""Stops a run when the likelihood of the watched items stops rising, and keeps the weights with the highest one."""

import torch
from torch import Tensor, nn

from ..evaluation.measures import HeldOutSet


class EarlyStop:
    """Watches one run.

    Parameters
    ----------
    held_out_set
        Labelled items that the run does not train on.
    patience
        Epochs without improvement.
    """

    def __init__(self, held_out_set: HeldOutSet, patience: int) -> None:
        self._held_out_set, self._patience = held_out_set, patience
        self._best = float("inf")
        self._waited = 0
        self._weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        """Whether `patience` epochs have passed without improvement."""
        return self._waited >= self._patience

    def look(self, model: nn.Module) -> float:
        """Evaluate the model at the end of an epoch; returns the mean cross-entropy."""
        surprise = self._held_out_set.surprise(model)
        if surprise < self._best:
            self._best, self._waited = surprise, 0
            self._weights = {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}
        else:
            self._waited += 1
        return surprise

    def put_best(self, model: nn.Module) -> None:
        """Load the best weights into the model."""
        if self._weights:
            model.load_state_dict(self._weights)

    def state(self) -> tuple[dict[str, Tensor], tuple[float, int]]:
        """Best weights, their cross-entropy, and the epochs since."""
        return {f"best.{key}": tensor for key, tensor in self._weights.items()}, (self._best, self._waited)

    def restore(self, tensors: dict[str, Tensor], facts: tuple[float, int], device: torch.device) -> None:
        """The inverse of `state`."""
        self._best, self._waited = float(facts[0]), int(facts[1])
        kept = {key.removeprefix("best."): tensor for key, tensor in tensors.items() if key.startswith("best.")}
        self._weights = {key: tensor.to(device, copy=True) for key, tensor in kept.items()}
