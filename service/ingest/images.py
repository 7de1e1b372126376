"""Pictures from untrusted uploads: known formats, a pixel limit before decoding, one decode, and what teachers see.

Teachers are run on 8 bits a channel. Pictures of other depths are converted here if their range leaves no doubt, and
rejected otherwise: a picture of 0 to 1 that is read as 0 to 255 is black, and no score says so.
"""

import struct
import warnings
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from service.core.errors import InvalidProbe, PreceptorError, TooLarge
from service.core.settings import Settings
from service.core.tiff import tile_pixels

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_DECODABLE_PIXELS: Final = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # beyond it Pillow refuses, whatever the settings say
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
_BYTE: Final = 255
_DEEP: Final = 65_535
_DARK: Final = 15
"""Pictures whose values end here, of 255, are nearly black; those that begin at 255 minus it, nearly white."""
_NARROW: Final = 4096
"""16-bit values below it, in all pictures of a probe, come from fewer bits and would be black in 8."""

# The cap of the settings is checked below; Pillow's own warning says the same with less.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Picture:
    """A picture that was taken.

    Attributes
    ----------
    data
        The file to store: as it came, or converted to 8 bits.
    pixels
        Width times height.
    grey
        As teachers see it, in mode L.
    """

    data: bytes
    pixels: int
    grey: Image.Image


@dataclass
class Pictures:
    """What is known of all pictures of one upload so far: their ranges, and those in which nothing can be seen."""

    count: int = 0
    largest_deep: int = 0
    ranges: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    blind: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    def see(self, grey: Image.Image, where: str) -> None:
        """Note a picture of mode L."""
        low, high = (int(value) for value in grey.getextrema())  # pyright: ignore[reportArgumentType]
        self.count += 1
        kind = (
            "nearly black"
            if high <= _DARK
            else "nearly white"
            if low >= _BYTE - _DARK
            else "of one brightness throughout"
            if high - low <= 1
            else None
        )
        if kind is not None:
            number, first = self.blind.get(kind, (0, where))
            self.blind[kind] = number + 1, first

    def scaled(self, kind: str, scale: str, where: str) -> None:
        """Note how the values of a picture are read.

        Raises
        ------
        InvalidProbe
            Pictures of this kind were read otherwise before.
        """
        known = self.ranges.setdefault(kind, {})
        known.setdefault(scale, where)
        if len(known) > 1:
            (one, first), (other, second) = known.items()
            raise InvalidProbe(
                f"{kind} pictures of different ranges: {first} has values {one}, {second} has values {other}. Save all "
                "as 8-bit pictures"
            )

    def finish(self) -> list[str]:
        """The warnings.

        Raises
        ------
        InvalidProbe
            16-bit pictures would be black.
        """
        if 0 < self.largest_deep < _NARROW:
            raise InvalidProbe(
                f"the 16-bit pictures have values up to {self.largest_deep:,} of 65,535, which is black in 8 bits. "
                f"Stretch them: (picture * (255 / {self.largest_deep})).round().astype('uint8')"
            )
        found: list[str] = []
        if 0 < self.largest_deep < 4 * _NARROW:
            found.append(
                f"the 16-bit pictures have values up to {self.largest_deep:,} of 65,535 and are dark. If the camera "
                "has fewer bits, stretch them to the whole range"
            )
        for kind, (number, first) in self.blind.items():
            found.append(
                f"{number:,} of {self.count:,} pictures ({number / self.count:.0%}) are {kind}, the first at {first}. "
                "Were they converted from another range of values?"
            )
        return found


def check_picture(
    data: bytes, where: str, settings: Settings, decoded: int = 0, pictures: Pictures | None = None
) -> Picture:
    """Refuse what is not a readable picture; of an animation the first frame counts.

    Parameters
    ----------
    decoded
        Pixels of the pictures before it.
    pictures
        What is known of the pictures before it; this one is added.

    Raises
    ------
    InvalidProbe, TooLarge
    """
    known = Pictures() if pictures is None else pictures
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
            seen = _eight_bits(picture, where, known)
            grey = as_grey(seen)
            if seen is not picture and picture.mode == "F":
                data = as_png(seen)
            known.see(grey, where)
            return Picture(data, width * height, grey)
    except PreceptorError:
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
        if isinstance(error, ValueError) and (plain := _without_texts(data)) != data:
            return check_picture(plain, where, settings, decoded, pictures)  # Pillow limits texts, which nobody sees
        raise InvalidProbe(f"{where}: the picture is damaged: {str(error)[:200]}. Replace or remove it") from error


def as_grey(picture: Image.Image) -> Image.Image:
    """A picture of 8 bits a channel in mode L; transparency over white, as teachers see it."""
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layered.size, (255, 255, 255, 255)), layered)
    return picture.convert("L")


def as_png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG."""
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _without_texts(data: bytes) -> bytes:
    """A PNG without its chunks of text; other files as they are."""
    if not data.startswith(_PNG):
        return data
    kept, place = [_PNG], len(_PNG)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        if data[place + 4 : place + 8] not in _TEXTS:
            kept.append(data[place : place + 12 + length])
        place += 12 + length
    return b"".join(kept)


def _eight_bits(picture: Image.Image, where: str, known: Pictures) -> Image.Image:
    """A picture of more bits a channel as teachers see it, or as it should be seen; others as they are."""
    if picture.mode == "LAB":
        raise InvalidProbe(f"{where}: the picture is saved in the colours of LAB. Save it in RGB")
    if picture.mode != "F" and not picture.mode.startswith("I"):
        return picture
    low, high = (float(value) for value in picture.getextrema())  # pyright: ignore[reportArgumentType]
    if picture.mode == "F":
        if not np.isfinite(np.asarray(picture)).all():
            raise InvalidProbe(f"{where}: the picture has values that are not finite. Replace or remove it")
        if low < 0 or high > _BYTE:
            raise InvalidProbe(
                f"{where}: the picture has float values from {low:.4g} to {high:.4g}; taken are 0 to 1 and 0 to 255. "
                "Save it as 8-bit picture"
            )
        if high > 0:
            known.scaled("float", "from 0 to 1" if high <= 1 else "from 0 to 255", where)
        return picture.point(lambda value: value * (_BYTE if high <= 1 else 1) + 0.5).convert("L")
    if low < 0 or high > _DEEP:
        raise InvalidProbe(
            f"{where}: the picture has whole values from {low:,.0f} to {high:,.0f}; taken are 0 to 255 and 0 to "
            "65,535. Save it as 8-bit picture"
        )
    deep = picture.mode != "I" or high > _BYTE
    if high > 0 and picture.mode == "I":
        known.scaled("integer", "from 0 to 65,535" if deep else "from 0 to 255", where)
    if deep:
        known.largest_deep = max(known.largest_deep, int(high))
    values = np.asarray(picture)
    return Image.fromarray((values // 257 if deep else values).astype(np.uint8))
