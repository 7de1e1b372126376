"""Where a training step runs: one process in single precision, or several devices and mixed precision with
`accelerate`.

The plain machine is a separate class because a light student's step takes half a millisecond, and the wrapping a third
of that.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from worker.errors import ComputationFailed

Precision = Literal["auto", "fp32", "bf16", "fp16"]

LARGEST_NORM: Final = 5.0
"""Gradients are clipped to this length."""


class Machine:
    """One process, single precision.

    Attributes
    ----------
    rank, processes
        Rank of this process, and their number; each computes its share of every batch.
    """

    rank = 0
    processes = 1

    def ready(self, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The optimiser, wrapped for the machine."""
        return optimiser

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the model runs."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients."""
        loss.backward()

    def step(self, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        """Clip the gradients and take the step."""
        nn.utils.clip_grad_norm_(parameters, LARGEST_NORM)
        optimiser.step()

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes."""
        return list(values)

    def from_first(self, value: float) -> float:
        """The value of the first process, for all."""
        return value

    def level(self, model: nn.Module) -> None:
        """Copy the first process's buffers to all: running means differ, since each process saw other items."""


class Accelerated(Machine):
    """Training with `accelerate`: mixed precision, several processes.

    Gradients are summed explicitly, in one message: a step runs the model on labelled and on transfer items before
    the backward pass, which wrapped models do not support.

    Parameters
    ----------
    mixed
        `no`, `bf16` or `fp16`.
    """

    def __init__(self, mixed: str, device: torch.device) -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed:
            # The precision of an earlier job in this process; accelerate has no other way to change it.
            AcceleratorState._reset_state()
        self._with: Any = Accelerator(
            mixed_precision=mixed, cpu=device.type == "cpu", step_scheduler_with_optimizer=False
        )
        self._device = device
        self.rank: int = self._with.process_index
        self.processes: int = self._with.num_processes

    def ready(self, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """See `Machine.ready`: fp16 scales its losses, and skips steps that overflow."""
        return self._with.prepare_optimizer(optimiser)

    def autocast(self) -> AbstractContextManager[Any]:
        """See `Machine.autocast`."""
        return self._with.autocast()

    def backward(self, loss: Tensor) -> None:
        """See `Machine.backward`."""
        self._with.backward(loss)

    def step(self, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        """See `Machine.step`."""
        if self.processes > 1:
            # A process with an empty share of a batch has no gradients, but the others wait for it too.
            held = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            flat = self._with.reduce(torch.cat([gradient.flatten() for gradient in held]), reduction="sum")
            for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                parameter.grad = part.view_as(parameter)
        self._with.clip_grad_norm_(parameters, LARGEST_NORM)
        optimiser.step()

    def total(self, values: Sequence[float]) -> list[float]:
        """See `Machine.total`."""
        if self.processes == 1:
            return list(values)
        summed: Tensor = self._with.reduce(
            torch.tensor(values, dtype=torch.float32, device=self._device), reduction="sum"
        )
        return summed.tolist()

    def from_first(self, value: float) -> float:
        """See `Machine.from_first`."""
        return self.total([value if self.rank == 0 else 0.0])[0]

    def level(self, model: nn.Module) -> None:
        """See `Machine.level`."""
        if self.processes == 1:
            return
        from accelerate.utils import broadcast

        for buffer in model.buffers():
            buffer.copy_(broadcast(buffer))


def mixed_precision(precision: Precision, device: torch.device) -> Literal["no", "bf16", "fp16"]:
    """The half precision of a large student's training.

    Raises
    ------
    ComputationFailed
        The device does not support this precision.
    """
    if precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if able else "no"
    if precision == "fp16" and device.type == "cpu":
        raise ComputationFailed("fp16 needs an accelerator, and this worker computes on a CPU; use bf16, fp32 or auto")
    return "no" if precision == "fp32" else precision


def machine_for(precision: Precision, device: torch.device, *, light: bool) -> Machine:
    """The machine of a request; a light student uses half precision only if requested, since it gains nothing.

    Raises
    ------
    ComputationFailed
        The device does not support this precision.
    """
    mixed = mixed_precision("fp32" if precision == "auto" and light else precision, device)
    return Machine() if mixed == "no" else Accelerated(mixed, device)
