"""Encoded pictures to arrays, exactly as `ImagePreprocessing` says: Pillow and numpy, nothing else."""

import io
import math
import warnings
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from preceptor.contract.teachers import ImagePreprocessing
from service.core.errors import InvalidProbe
from service.core.tiff import tile_pixels

from ..interface import Float32

_DECODABLE_PIXELS: Final = 2 * (Image.MAX_IMAGE_PIXELS or 0)
"""Beyond it Pillow refuses. The limit of the settings was checked when the probe was uploaded."""
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
        "rgb" or "gray": the mode of the result, Pillow's RGB or L.

    Raises
    ------
    InvalidProbe
        The picture cannot be read or is too large.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if image.format == "TIFF" and tile_pixels(data) > _DECODABLE_PIXELS:
            raise Image.DecompressionBombError
        image = ImageOps.exif_transpose(image)
        return _eight_bits(image).convert("RGB" if channels == "rgb" else "L")
    except UnidentifiedImageError:
        raise InvalidProbe(f"the picture is in none of the formats {', '.join(_FORMATS)}") from None
    except Image.DecompressionBombError:
        raise InvalidProbe(
            f"the picture has more than {_DECODABLE_PIXELS:,} pixels, the most that are decoded; scale it down"
        ) from None
    except Exception as error:  # damaged headers end in errors of many kinds inside Pillow
        raise InvalidProbe(f"the picture cannot be read: {str(error)[:160]}") from None


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
    """Resize (bilinear, antialiased) and cut out the centre, to exactly `how.size` (height, width).

    With ``shortest_edge`` the picture is scaled, keeping its proportions, until it covers
    ``size / crop_fraction``; with ``exact`` it is stretched to that size. Then the centre is cut out.
    """
    height, width = how.size
    fraction = how.crop_fraction or 1.0
    tall, wide = math.floor(height / fraction + 1e-9), math.floor(width / fraction + 1e-9)
    if how.resize == "shortest_edge":
        # Integer arithmetic as in torchvision: the edge that fits exactly is exact, the other is cut down.
        if tall * image.width >= wide * image.height:
            wide = max(wide, tall * image.width // image.height)
        else:
            tall = max(tall, wide * image.height // image.width)
    # Of an extremely long picture only the middle is resized, so that memory stays bounded.
    shown_wide, shown_tall = min(wide, 4 * width), min(tall, 4 * height)
    half_x, half_y = image.width * shown_wide / wide / 2, image.height * shown_tall / tall / 2
    x, y = image.width / 2, image.height / 2
    if (shown_wide, shown_tall) != image.size or (shown_wide, shown_tall) != (wide, tall):
        box = (x - half_x, y - half_y, x + half_x, y + half_y)
        image = image.resize((shown_wide, shown_tall), Image.Resampling.BILINEAR, box=box)
    if (shown_wide, shown_tall) != (width, height):
        left, top = round((shown_wide - width) / 2), round((shown_tall - height) / 2)
        image = image.crop((left, top, left + width, top + height))
    return image


def prepare_pictures(pictures: list[bytes], how: ImagePreprocessing, *, start: int = 0) -> Float32:
    """Pictures as a model's input: fitted, then ``(pixel - mean) / std`` on values 0..255.

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
    InvalidProbe
        A picture cannot be read or is too large.
    """
    depth = 3 if how.channels == "rgb" else 1
    height, width = how.size
    pixels = np.empty((len(pictures), height, width, depth), dtype=np.float32)
    for position, data in enumerate(pictures):
        try:
            image = fit(decode(data, channels=how.channels), how)
        except InvalidProbe as error:
            raise InvalidProbe(f"item {start + position}: {error.detail}") from None
        pixels[position] = np.asarray(image, dtype=np.float32).reshape(height, width, depth)
    pixels -= np.asarray(how.mean, dtype=np.float32)
    pixels /= np.asarray(how.std, dtype=np.float32)
    if how.layout == "NCHW":
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return pixels
