"""Pictures from strangers: known formats, a pixel limit before decoding, one full decode."""

import warnings
from io import BytesIO
from typing import Final

from PIL import Image, UnidentifiedImageError

from service.core.errors import InvalidProbe, TooLarge
from service.core.settings import Settings
from service.core.tiff import tile_pixels

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_DECODABLE_PIXELS: Final = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # beyond it Pillow refuses, whatever the settings say

# The cap of the settings is checked below; Pillow's own warning says the same with less.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def check_picture(data: bytes, where: str, settings: Settings, decoded: int = 0) -> int:
    """Refuse what is not a readable picture; of an animation the first frame counts.

    Parameters
    ----------
    decoded
        Pixels of the pictures before it.

    Returns
    -------
    int
        Its own pixels.

    Raises
    ------
    InvalidProbe, TooLarge
    """
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as picture:
            width, height = picture.size
            if width * height > settings.max_image_pixels:
                raise TooLarge(
                    f"{where}: the picture has {width:,} x {height:,} pixels; at most {settings.max_image_pixels:,} "
                    "are taken. Scale it down"
                )
            if decoded + width * height > settings.max_probe_pixels:
                raise TooLarge(
                    f"{where}: up to here the pictures have more than {settings.max_probe_pixels:,} pixels together. "
                    "Scale them down, or send a smaller sample"
                )
            if picture.format == "TIFF" and (tile := tile_pixels(data)) > settings.max_image_pixels:
                raise TooLarge(
                    f"{where}: the picture has tiles of {tile:,} pixels; at most {settings.max_image_pixels:,} are "
                    "taken. Save it with smaller tiles"
                )
            picture.load()
            return width * height
    except TooLarge:
        raise
    except UnidentifiedImageError as error:
        raise InvalidProbe(
            f"{where}: this is not a readable picture ({', '.join(_FORMATS)} are taken). Replace or remove it"
        ) from error
    except Image.DecompressionBombError as error:
        raise TooLarge(
            f"{where}: the picture has more pixels than can be decoded safely; at most "
            f"{min(settings.max_image_pixels, _DECODABLE_PIXELS):,} are taken. Scale it down"
        ) from error
    except MemoryError as error:
        raise TooLarge(f"{where}: the picture is too large to be decoded. Scale it down") from error
    except Exception as error:  # decoders of hostile bytes raise what they like
        raise InvalidProbe(f"{where}: the picture is damaged: {str(error)[:200]}. Replace or remove it") from error
