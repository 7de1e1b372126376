"""Pictures from strangers: known formats, a pixel limit before decoding, one full decode."""

import warnings
from io import BytesIO
from typing import Final

from PIL import Image, UnidentifiedImageError

from service.state.errors import InvalidProbe, TooLarge
from service.state.settings import Settings

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def check_picture(data: bytes, where: str, settings: Settings) -> None:
    """Refuse what is not a readable picture.

    Raises
    ------
    InvalidProbe, TooLarge
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=_FORMATS) as picture:
                width, height = picture.size
                if width * height > settings.max_image_pixels:
                    raise TooLarge(
                        f"{where}: the picture has {width:,} x {height:,} pixels; at most "
                        f"{settings.max_image_pixels:,} are taken. Scale it down"
                    )
                picture.load()
    except TooLarge:
        raise
    except UnidentifiedImageError as error:
        raise InvalidProbe(f"{where}: not a picture in {', '.join(_FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise TooLarge(f"{where}: the picture has too many pixels; scale it down") from error
    except MemoryError as error:
        raise TooLarge(f"{where}: the picture is too large to be decoded") from error
    except Exception as error:
        raise InvalidProbe(f"{where}: the picture is damaged: {str(error)[:200]}") from error
