"""A model's own image processor of `transformers`, kept from making more pixels than the model will see.

``shortest_edge`` makes a picture of 2 x 100,000 pixels 224 x 11,200,000 before the centre is cut out. Here a large
resize is put off until the crop is known; then only the crop is computed, pixel for pixel as the processor would.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from worker.errors import InvalidItems

from ..config_files import read_options
from ..errors import TeacherUnusable
from .resample import resize_window, supports

MOST_PIXELS_A_SIDE: Final = 2048
_DELEGATING: Final = ("ConvNextImageProcessorPil", "PoolFormerImageProcessorPil", "LevitImageProcessorPil")
"""Their own `resize` ends in that of the base class."""
MOST_PIXELS: Final = MOST_PIXELS_A_SIDE**2
"""Pixels of one prepared picture."""


@dataclass(frozen=True)
class PendingResize:
    """A resized picture that is not computed yet.

    Attributes
    ----------
    pixels
        The source, shape (C, H, W), uint8.
    shape
        Shape of the result, (C, height, width).
    resample
        Pillow's number of the filter.
    factor
        What the values are multiplied by afterwards; None for not at all.
    """

    pixels: Any
    shape: tuple[int, int, int]
    resample: int
    factor: float | None = None

    def window(self, top: int, left: int, height: int, width: int) -> Any:
        """A part of the result, shape (C, height, width)."""
        made = resize_window(
            np.ascontiguousarray(self.pixels.transpose(1, 2, 0)),
            (self.shape[1], self.shape[2]),
            (top, left, height, width),
            self.resample,
        )
        return made.transpose(2, 0, 1)


@cache
def _bounded(kind: type) -> type:
    """The same processor with a bounded resize: a class between it and its base, so that its own methods still run."""
    from transformers.image_processing_backends import PilBackend

    class Bounded(PilBackend):
        def resize(
            self, image: Any, size: Any, resample: Any = None, reducing_gap: int | None = None, **kwargs: Any
        ) -> Any:
            wanted = _resized_shape(image, size)
            if wanted is None or wanted[0] * wanted[1] <= MOST_PIXELS:
                return super().resize(image, size, resample=resample, reducing_gap=reducing_gap, **kwargs)
            chosen = Image.Resampling.BILINEAR if resample is None else int(resample)
            if image.dtype != np.uint8 or not supports(chosen):
                raise too_large(*wanted)
            return PendingResize(image, (image.shape[0], *wanted), chosen)

        def rescale(self, image: Any, scale: float, **kwargs: Any) -> Any:
            if isinstance(image, PendingResize):
                if image.factor is not None:
                    raise too_large(*image.shape[1:])
                return replace(image, factor=scale)
            return super().rescale(image, scale, **kwargs)

        def normalize(self, image: Any, mean: Any, std: Any, **kwargs: Any) -> Any:
            if isinstance(image, PendingResize):
                raise too_large(*image.shape[1:])
            return super().normalize(image, mean, std, **kwargs)

        def center_crop(self, image: Any, size: Any, **kwargs: Any) -> Any:
            if not isinstance(image, PendingResize):
                # One that crops by a share of the picture may pad it to any size.
                if (size.height or 0) * (size.width or 0) > max(4 * MOST_PIXELS, image.shape[-2] * image.shape[-1]):
                    raise too_large(size.height, size.width)
                return super().center_crop(image, size, **kwargs)
            # A smaller picture with the same centre, whose crop the processor then makes itself (it may pad).
            bounds = [_strip(image.shape[1], size.height), _strip(image.shape[2], size.width)]
            (top, height), (left, width) = bounds
            if height * width > 4 * MOST_PIXELS:
                raise too_large(*image.shape[1:])
            part = image.window(top, left, height, width)
            if image.factor is not None:
                part = super().rescale(part, image.factor)
            return super().center_crop(part, size, **kwargs)

    return type(kind.__name__, (kind, Bounded), {"__module__": kind.__module__})


def _strip(side: int, wanted: int) -> tuple[int, int]:
    """Begin and length of the part of a side whose centred crop of `wanted` pixels is that of the whole side."""
    return ((side - wanted) // 2, wanted) if side > wanted else (0, side)


def _resized_shape(image: Any, size: Any) -> tuple[int, int] | None:
    """Height and width that `resize` would make; None where that is bounded by the settings alone."""
    height, width = image.shape[-2:]
    if size.shortest_edge and not size.longest_edge:
        short, long = min(height, width), max(height, width)
        edge, other = size.shortest_edge, int(size.shortest_edge * long / short)
        return (other, edge) if width <= height else (edge, other)
    if size.height and size.width:
        return size.height, size.width
    return None


def too_large(height: int, width: int) -> InvalidItems:
    """What is said of a picture that would have too many pixels for the model."""
    return InvalidItems(
        f"the picture would become {width:,} x {height:,} pixels for this teacher, more than {MOST_PIXELS:,}; crop it "
        "or scale it down"
    )


def load_processor(folder: Path) -> Any:
    """The image processor of a folder, in its Pillow variant.

    Raises
    ------
    TeacherUnusable
        It is missing, unknown, or makes pictures that are too large.
    """
    from transformers import AutoImageProcessor
    from transformers.image_processing_backends import PilBackend

    files = [folder / name for name in ("preprocessor_config.json", "processor_config.json")]
    present = [path for path in files if path.is_file()]
    if not present:
        raise TeacherUnusable(
            "preprocessor_config.json is missing: it says how pictures are resized and normalised. Save it with "
            "AutoImageProcessor.from_pretrained(NAME).save_pretrained(FOLDER)"
        )
    for path in present:
        _check_sizes(read_options(path), path.name)
    found = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False, backend="pil")
    if isinstance(found, PilBackend):
        found.__class__ = _bounded(type(found))
    return found


def _check_sizes(options: dict[str, Any], name: str) -> None:
    for key, value in options.items():
        if isinstance(value, dict):
            _check_sizes(value, name)
        elif key in ("height", "width", "shortest_edge", "longest_edge", "size", "crop_size"):
            sides = value if isinstance(value, list) else [value]
            if any(isinstance(side, (int, float)) and side > MOST_PIXELS_A_SIDE for side in sides):
                raise TeacherUnusable(
                    f"{key!r} in {name} is {json.dumps(value)}; pictures may have at most {MOST_PIXELS_A_SIDE} "
                    f"pixels a side"
                )
        elif (
            key in ("patch_size", "max_num_patches", "size_divisor")
            and isinstance(value, (int, float))
            and not 0 < value <= MOST_PIXELS_A_SIDE
        ):
            raise TeacherUnusable(f"{key!r} in {name} is {value}; it must be from 1 to {MOST_PIXELS_A_SIDE}")


def _is_bounded(processor: Any) -> bool:
    """Whether every resize with a free edge goes through the bounded one."""
    kinds = type(processor).__mro__
    own = [kind for kind in kinds if "resize" in vars(kind) and kind.__name__.endswith("ImageProcessorPil")]
    return all(kind.__name__ in _DELEGATING for kind in own) or not hasattr(processor, "size")


class PicturePreparation:
    """Applies an image processor to one picture after the other.

    Parameters
    ----------
    processor
        As loaded by `load_processor`.
    accepted
        Names of the model's inputs.
    """

    def __init__(self, processor: Any, accepted: set[str]) -> None:
        self._processor = processor
        self._accepted = accepted
        self.resizes = getattr(processor, "do_resize", True) is not False
        self._edge = 0 if _is_bounded(processor) else getattr(processor.size, "shortest_edge", None) or 0

    def arrays(self, image: Image.Image) -> Mapping[str, Any]:
        """The model's inputs for one picture: tensors with a batch of 1.

        Raises
        ------
        InvalidItems
            The picture would be too large.
        """
        if not self.resizes and not getattr(self._processor, "do_center_crop", False):
            if image.width * image.height > MOST_PIXELS:
                raise too_large(image.height, image.width)
        elif self._unbounded(image):
            scale = self._edge / min(image.size)
            raise too_large(round(image.height * scale), round(image.width * scale))
        made = self._processor(images=[image], return_tensors="pt")
        found = {name: value for name, value in made.items() if name in self._accepted}
        if not found:
            raise TeacherUnusable(
                f"the image processor makes {sorted(made)}, the model takes {sorted(self._accepted)}; upload the "
                "preprocessor_config.json that belongs to the model"
            )
        return found

    def _unbounded(self, image: Image.Image) -> bool:
        """Whether a processor with a resize that is not bounded here would make too many pixels."""
        return self._edge**2 * max(image.size) > MOST_PIXELS * min(image.size)
