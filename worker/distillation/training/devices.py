"""What a training step runs on: one process in single precision, or what `accelerate` makes of several devices and
of mixed precision.

The plain machine is a class of its own because a light student's step takes half a millisecond, and the wrapping a
third of that.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from service.core.errors import JobFailed

Precision = Literal["auto", "fp32", "bf16", "fp16"]

LARGEST_NORM: Final = 5.0
"""Gradients are clipped to this length."""


class Machine:
    """One process, single precision.

    Attributes
    ----------
    rank, processes
        Which of how many processes this is; each computes its share of every batch.
    """

    rank = 0
    processes = 1

    def ready(self, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The optimiser as the machine wants it."""
        return optimiser

    def autocast(self) -> AbstractContextManager[Any]:
        """Under which the model is run."""
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

    def first_says(self, value: float) -> float:
        """The value of the first process, for all."""
        return value

    def level(self, model: nn.Module) -> None:
        """Give every process the first one's buffers: running means differ, since each saw its own items."""


class Accelerated(Machine):
    """What `accelerate` offers: mixed precision, several processes.

    Gradients are summed by hand, in one message, since a step runs the model on labelled and on transfer items
    before it goes back, which wrapped models do not expect.

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
            # A process whose share of a batch is empty has no gradients, and is waited for nevertheless.
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

    def first_says(self, value: float) -> float:
        """See `Machine.first_says`."""
        return self.total([value if self.rank == 0 else 0.0])[0]

    def level(self, model: nn.Module) -> None:
        """See `Machine.level`."""
        if self.processes == 1:
            return
        from accelerate.utils import broadcast

        for buffer in model.buffers():
            buffer.copy_(broadcast(buffer))


def mixed_precision(precision: Precision, device: torch.device) -> Literal["no", "bf16", "fp16"]:
    """What of a large student's training is done in half precision.

    Raises
    ------
    JobFailed
        The device cannot compute so.
    """
    if precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if able else "no"
    if precision == "fp16" and device.type == "cpu":
        raise JobFailed("fp16 needs an accelerator, and this worker computes on a CPU; use bf16, fp32 or auto")
    return "no" if precision == "fp32" else precision


def machine_for(precision: Precision, device: torch.device, *, light: bool) -> Machine:
    """The machine of a request; a light student gains nothing from half precision that is not asked for.

    Raises
    ------
    JobFailed
        The device cannot compute so.
    """
    mixed = mixed_precision("fp32" if precision == "auto" and light else precision, device)
    return Machine() if mixed == "no" else Accelerated(mixed, device)
