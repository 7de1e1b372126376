"""Teachers as a `timm` architecture with safetensors weights. The only place that imports timm."""

from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, get_args

import torch

from preceptor.contract.teachers import ImagePreprocessing, Interpolation, Modality, Teacher, TimmSource

from ..errors import TeacherUnusable
from ..interface import Batch, Float32, Outputs
from ..preprocessing.inputs import PICTURES, Preparation
from ..preprocessing.texts import read_options
from .torch_device import LastLinear, device_for, exact_inference, to_numpy, use_threads
from .weights_files import numbers, read_shapes, surplus_prefix

_DEFAULT_CROP: Final = 0.875
_RESIZES: Final[dict[str, Literal["shortest_edge", "longest_edge", "exact"]]] = {
    "center": "shortest_edge",
    "border": "longest_edge",
    "squash": "exact",
}
"""timm's crop_mode."""


def import_timm() -> ModuleType:
    """timm, where it can be imported.

    Raises
    ------
    TeacherUnusable
        It is not installed, or its torchvision does not fit the installed torch.
    """
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except Exception as error:  # a torchvision built for another torch raises RuntimeError
        text = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise TeacherUnusable(
            f"timm does not work on this worker ({text}); install timm with a torchvision that fits its torch, or "
            f"export the model to ONNX"
        ) from None
    return timm


def load(teacher: Teacher, folder: Path, *, device: str, threads: int | None) -> "TimmTeacher":
    """Build a `timm` architecture and load `model.safetensors` into it.

    Raises
    ------
    TeacherUnusable
        timm does not work here, does not know the architecture, or the weights do not fit it.
    """
    if not isinstance(teacher.source, TimmSource):
        raise TypeError(f"not a timm source: {teacher.source.kind}")
    if teacher.modality != "image":
        raise TeacherUnusable("timm's models take pictures; register modality 'image'")
    if teacher.labels is None:
        raise TeacherUnusable("a source of kind 'timm' needs `labels`, in the order of the model's outputs")
    path = folder / "model.safetensors"
    if not path.is_file():
        raise TeacherUnusable("model.safetensors is missing; save it with safetensors.torch.save_file")
    timm = import_timm()
    return TimmTeacher(timm, teacher.source.architecture, path, len(teacher.labels), device, threads)


def preprocessing_of(config: dict[str, Any]) -> ImagePreprocessing:
    """timm's data config (0..1 means) as our preprocessing (0..255)."""
    height, width = config["input_size"][-2:]
    interpolation = config.get("interpolation", "bilinear")
    if interpolation == "random":
        interpolation = "bilinear"  # As timm itself evaluates.
    if interpolation not in get_args(Interpolation):
        raise TeacherUnusable(
            f"the data config has interpolation {str(interpolation)[:40]!r}; known are "
            f"{', '.join(get_args(Interpolation))}. Correct pretrained_cfg in config.json"
        )
    mode = config.get("crop_mode") or "center"
    crop = config.get("crop_pct") or _DEFAULT_CROP
    if mode not in _RESIZES:
        raise TeacherUnusable(
            f"the data config has crop_mode {str(mode)[:40]!r}, which is not supported; export the model to ONNX"
        )
    return ImagePreprocessing(
        size=(height, width),
        resize=_RESIZES[mode],
        crop_fraction=crop,
        # timm passes no interpolation on where it covers a size that is not square.
        interpolation="bilinear" if mode == "center" and height // crop != width // crop else interpolation,
        mean=[255 * value for value in config["mean"]],
        std=[255 * value for value in config["std"]],
        channels="gray" if config["input_size"][0] == 1 else "rgb",
    )


class TimmTeacher:
    """A classifier of timm, in evaluation mode."""

    labels: list[str] | None = None
    modality: Modality = "image"

    def __init__(
        self, timm: Any, architecture: str, path: Path, classes: int, device: str, threads: int | None
    ) -> None:
        use_threads(threads)
        self._device = device_for(device)
        self.classes: int = classes
        if not timm.is_model(architecture):
            raise TeacherUnusable(
                f"timm {timm.__version__} has no architecture {architecture!r}; see timm.list_models()"
            )
        with torch.device("meta"):
            wanted = timm.create_model(architecture, pretrained=False, num_classes=classes)
        needed = sum(parameter.numel() for parameter in wanted.parameters())
        stored = numbers(read_shapes(path))
        if needed > 2 * stored:
            raise TeacherUnusable(
                f"{architecture} has {needed:,} weights but model.safetensors holds {stored:,}; upload the "
                f"weights of "
                f"this architecture with {classes} classes"
            )
        self._model: Any = timm.create_model(architecture, pretrained=False, num_classes=classes)
        self._fill(path, architecture)
        self._model = self._model.eval().to(self._device)
        self.parameters = needed
        given = read_options(path.with_name("config.json"))
        chosen = timm.data.resolve_data_config(given.get("pretrained_cfg", given), model=self._model)
        self._prepare = Preparation(preprocessing_of(chosen), path.parent)
        self._head = LastLinear(self._model, classes)

    def _fill(self, path: Path, architecture: str) -> None:
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
            prefix = surplus_prefix(tensors, self._model.state_dict())
            named = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
            self._model.load_state_dict(named, strict=True)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise TeacherUnusable(
                f"the weights do not fit {architecture} ({lines[min(1, len(lines) - 1)][:200]}); upload the "
                f"weights of "
                f"this architecture, with as many outputs as there are labels"
            ) from None

    @property
    def class_weights(self) -> Float32 | None:
        """Rows of the last linear layer, shape (K, D); known after the first prediction."""
        return self._head.weights()

    def predict(self, batch: Batch) -> Outputs:
        """Logits and the classifier's input for a batch of pictures."""
        pixels = torch.from_numpy(self._prepare.arrays(batch)[PICTURES]).to(self._device)
        with exact_inference():
            logits = self._model(pixels)
            features = self._head.features(logits)
            return Outputs(to_numpy(logits), None if features is None else to_numpy(features))

    def close(self) -> None:
        """Release the model's memory."""
        self._model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
