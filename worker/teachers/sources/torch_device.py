"""How torch computes: threads, no gradients, the same answer every time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import TeacherUnusable
from ..interface import Float32


class DeviceMissing(Exception):
    """The worker lacks the device that its settings name."""


def use_threads(threads: int | None) -> None:
    """Let torch compute with so many threads; None or 0 leaves the choice to torch. Holds for the process."""
    if threads:
        torch.set_num_threads(threads)


def device_for(name: str) -> torch.device:
    """The device of a setting: ``auto`` is CUDA where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise TeacherUnusable(f"the device {name!r} is unknown; set it to auto, cpu or cuda:0") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TeacherUnusable(f"the device {name!r} is not available on this worker; set it to auto or cpu")
    return device


def require_device(name: str) -> None:
    """Compute one number on the device of a setting: a worker without it would fail every job that it takes.

    Raises
    ------
    DeviceMissing
    """
    try:
        (torch.ones(1, device=device_for(name)) + 1).cpu()
    except (TeacherUnusable, RuntimeError) as error:
        reason = error.detail if isinstance(error, TeacherUnusable) else str(error).splitlines()[0]
        raise DeviceMissing(
            f"PRECEPTOR_DEVICE is {name!r}, and this worker cannot compute there: {reason}. Give it the device, or set "
            "PRECEPTOR_DEVICE to auto or cpu"
        ) from error


@contextmanager
def exact_inference() -> Iterator[None]:
    """No gradients, no tf32, no choice of algorithm by timing: equal input gives equal output."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(
                enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
            ),
        ):
            yield
    finally:
        matmul.allow_tf32 = before


def to_numpy(tensor: Tensor) -> Float32:
    """A tensor as a float32 array in main memory."""
    return tensor.detach().to(device="cpu", dtype=torch.float32).contiguous().numpy()


class LastLinear:
    """Finds the linear layer that makes the logits, and keeps what went into it.

    A layer is the one when its very output is returned as the logits; so nothing depends on how the
    architecture names its head. Where logits are made otherwise (an average of two heads, a choice among
    tokens), there is none.

    Parameters
    ----------
    model
        The model; hooks are put on its linear layers with `classes` outputs.
    classes
        K, the number of outputs.
    """

    def __init__(self, model: nn.Module, classes: int) -> None:
        self._seen: list[tuple[nn.Linear, Tensor, Tensor]] = []
        self.layer: nn.Linear | None = None
        for module in model.modules():
            if isinstance(module, nn.Linear) and module.out_features == classes:
                module.register_forward_hook(self._remember)

    def _remember(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            self._seen.append((module, inputs[0], output))

    def features(self, logits: Tensor) -> Tensor | None:
        """What went into the layer that made these logits, shape (B, D); None where no layer did."""
        found = None
        for layer, given, made in reversed(self._seen):
            if made.shape == logits.shape and made.data_ptr() == logits.data_ptr() and given.ndim == 2:
                self.layer, found = layer, given
                break
        self._seen.clear()
        return found

    def weights(self) -> Float32 | None:
        """The rows of that layer, shape (K, D); None before the first prediction."""
        return None if self.layer is None else to_numpy(self.layer.weight)
