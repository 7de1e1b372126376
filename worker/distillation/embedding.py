"""The student's embedding: what goes into its last linear layer, whatever the architecture calls it."""

from typing import Any

from torch import Tensor, nn

from service.core.errors import JobFailed


class EmbeddingProbe:
    """Keeps what the last linear layer was given at the latest run of the model.

    Attributes
    ----------
    width
        Length of the embedding.

    Raises
    ------
    JobFailed
        The model has no linear layer.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise JobFailed("this student has no linear last layer whose input could be matched; use another loss")
        self.width = layers[-1].in_features
        self._seen: Tensor | None = None
        self._hook = layers[-1].register_forward_pre_hook(self._keep)

    @property
    def last(self) -> Tensor:
        """Shape (B, width)."""
        if self._seen is None or self._seen.ndim != 2:
            raise JobFailed("this student's last linear layer does not take one vector an item; use another loss")
        return self._seen

    def close(self) -> None:
        """Take it off the model."""
        self._hook.remove()
        self._seen = None

    def _keep(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        self._seen = given[0]
