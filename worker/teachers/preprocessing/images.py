"""Encoded pictures to arrays, exactly as `ImagePreprocessing` says: Pillow and numpy, nothing else."""

import io
import math
import warnings
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from preceptor.contract.teachers import ImagePreprocessing
from service.core.tiff import tile_pixels
from worker.errors import InvalidItems

from ..fingerprint import for_unit_pixels
from ..interface import Float32
from .resample import resize_window

_DECODABLE_PIXELS: Final = 2 * (Image.MAX_IMAGE_PIXELS or 0)
"""Beyond it Pillow refuses. The limit of the settings was checked when the probe was uploaded."""
_MOST_RESIZED: Final = 2**22
"""Pixels that a picture may have before the crop; of a larger one only the part is computed that remains."""
_ROWS: Final = 64
# Only formats that are decoded by a plain library call; EPS, for one, would start another program.
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(data: bytes, *, channels: str = "rgb") -> Image.Image:
    """Read an encoded picture.

    The EXIF orientation is applied, transparency is laid over white, palettes are resolved, 16-bit grey is
    scaled to 8 bits, and of an animation the first picture is taken.

    Parameters
    ----------
    data
        A PNG, JPEG, WebP, GIF, BMP, TIFF or PPM file.
    channels
        "gray" makes Pillow's mode L; all else RGB.

    Raises
    ------
    InvalidItems
        The picture cannot be read or is too large.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if image.format == "TIFF" and tile_pixels(data) > _DECODABLE_PIXELS:
            raise Image.DecompressionBombError
        image = ImageOps.exif_transpose(image)
        return _eight_bits(image).convert("L" if channels == "gray" else "RGB")
    except UnidentifiedImageError:
        raise InvalidItems(f"the picture is in none of the formats {', '.join(_FORMATS)}") from None
    except Image.DecompressionBombError:
        raise InvalidItems(
            f"the picture has more than {_DECODABLE_PIXELS:,} pixels, the most that are decoded; scale it down"
        ) from None
    except Exception as error:  # damaged headers end in errors of many kinds inside Pillow
        raise InvalidItems(f"the picture cannot be read: {str(error)[:160]}") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        # 16-bit files arrive as "I;16", or as "I" with values beyond 255.
        scale = 257 if image.mode != "F" and (image.mode != "I" or values.max(initial=0) > 255) else 1
        found = np.empty(values.shape, dtype=np.uint8)
        for begin in range(0, len(values), _ROWS):  # In doubles the whole picture would be eight times as large.
            part = values[begin : begin + _ROWS].astype(np.float64) / scale
            found[begin : begin + _ROWS] = np.clip(np.rint(part), 0, 255)
        return Image.fromarray(found)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        ground = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, layered).convert("RGB")
    return image


def fit(image: Image.Image, how: ImagePreprocessing) -> Image.Image:
    """Resize and cut out the centre, to exactly `how.size` (height, width).

    With ``shortest_edge`` the picture is scaled, keeping its proportions, until it covers ``size / crop_fraction``;
    with ``longest_edge`` until it fits into it, on a ground of the mean colour; with ``exact`` it is stretched to that
    size. Then the centre is cut out. The arithmetic is that of torchvision's ``Resize`` and ``CenterCrop``, and of timm
    where the size is not square.
    """
    height, width = how.size
    tall, wide = _resized(image, how)
    top, left = round((tall - height) / 2), round((wide - width) / 2)
    part = _part(image, (tall, wide), (max(top, 0), max(left, 0), min(height, tall), min(width, wide)), how)
    if part.size == (width, height):
        return part
    ground = Image.new(image.mode, (width, height), _mean_colour(how, len(image.getbands())))
    ground.paste(part, (max(-left, 0), max(-top, 0)))
    return ground


def _part(
    image: Image.Image, size: tuple[int, int], window: tuple[int, int, int, int], how: ImagePreprocessing
) -> Image.Image:
    """A window (top, left, height, width) of the picture resized to `size` (height, width)."""
    top, left, height, width = window
    kind = Image.Resampling[how.interpolation.upper()]
    if size[0] * size[1] > _MOST_RESIZED:
        # Of a thin picture only the part is computed that is cut out.
        made = resize_window(np.atleast_3d(np.asarray(image)), size, window, kind)
        return Image.fromarray(made[..., 0] if image.mode == "L" else made)
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), kind)
    return image if size == (height, width) else image.crop((left, top, left + width, top + height))


def _resized(image: Image.Image, how: ImagePreprocessing) -> tuple[int, int]:
    """Height and width before the crop."""
    fraction = how.crop_fraction or 1.0
    tall, wide = (math.floor(side / fraction + 1e-9) for side in how.size)
    if how.resize == "exact":
        return tall, wide
    if how.resize == "longest_edge" or tall != wide:
        choose = max if how.resize == "longest_edge" else min
        ratio = choose(image.height / tall, image.width / wide)
        return max(1, round(image.height / ratio)), max(1, round(image.width / ratio))
    # Integer arithmetic as in torchvision: the edge that fits exactly is exact, the other is cut down.
    if image.width <= image.height:
        return wide * image.height // image.width, wide
    return tall, tall * image.width // image.height


def _mean_colour(how: ImagePreprocessing, depth: int) -> int | tuple[int, ...]:
    mean = [round(value / _scale(how)) for value in (how.mean * depth if len(how.mean) == 1 else how.mean)]
    if how.channels == "bgr":
        mean.reverse()
    return mean[0] if depth == 1 else tuple(mean)


def _scale(how: ImagePreprocessing) -> float:
    """What pixels of 0..255 are multiplied by before mean and std."""
    if how.rescale_factor is not None:
        return how.rescale_factor
    return 1 / 255 if for_unit_pixels(how) else 1.0


def prepare_pictures(pictures: list[bytes], how: ImagePreprocessing, *, start: int = 0) -> Float32:
    """Pictures as a model's input: fitted, then ``(rescale_factor * pixel - mean) / std`` on values 0..255.

    Parameters
    ----------
    pictures
        B encoded picture files.
    how
        The teacher's preprocessing.
    start
        Position of the first picture in the probe; error messages name positions.

    Returns
    -------
    ndarray
        Float32, shape (B, C, H, W) for the layout ``NCHW`` or (B, H, W, C) for ``NHWC``; C is 3 or 1.

    Raises
    ------
    InvalidItems
        A picture cannot be read or is too large.
    """
    depth = 1 if how.channels == "gray" else 3
    height, width = how.size
    pixels = np.empty((len(pictures), height, width, depth), dtype=np.float32)
    for position, data in enumerate(pictures):
        try:
            image = fit(decode(data, channels=how.channels), how)
        except InvalidItems as error:
            raise InvalidItems(f"item {start + position}: {error.detail}") from None
        values = np.asarray(image, dtype=np.float32).reshape(height, width, depth)
        pixels[position] = values[..., ::-1] if how.channels == "bgr" else values
    scale = _scale(how)
    if scale != 1:
        pixels *= np.float32(scale)
    pixels -= np.asarray(how.mean, dtype=np.float32)
    pixels /= np.asarray(how.std, dtype=np.float32)
    if how.layout == "NCHW":
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return pixels
