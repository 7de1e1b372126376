"""Pictures become arrays exactly as the preprocessing says."""

import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from preceptor.contract.teachers import ImagePreprocessing
from worker.errors import InvalidItems
from worker.teachers.preprocessing.images import decode, fit, prepare_pictures


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_values_are_normalised_on_0_to_255() -> None:
    data = encoded(Image.new("RGB", (8, 8), (255, 127, 0)))
    how = ImagePreprocessing(size=(8, 8), mean=[127.0], std=[128.0])
    pixels = prepare_pictures([data, data], how)
    assert pixels.shape == (2, 3, 8, 8)
    assert pixels.dtype == np.float32
    assert np.allclose(pixels[0, :, 0, 0], [1.0, 0.0, -127 / 128])


def test_mean_and_std_belong_to_channels_in_either_layout() -> None:
    data = encoded(Image.new("RGB", (4, 4), (10, 20, 30)))
    how: dict[str, Any] = {"size": (4, 4), "mean": [10.0, 10.0, 10.0], "std": [1.0, 2.0, 4.0]}
    first = prepare_pictures([data], ImagePreprocessing(**how))
    last = prepare_pictures([data], ImagePreprocessing(**how, layout="NHWC"))
    assert np.allclose(first[0, :, 0, 0], [0, 5, 5])
    assert last.shape == (1, 4, 4, 3)
    assert np.array_equal(first.transpose(0, 2, 3, 1), last)


def test_gray_pictures_have_one_channel() -> None:
    data = encoded(Image.new("RGB", (4, 4), (100, 100, 100)))
    pixels = prepare_pictures([data], ImagePreprocessing(size=(4, 4), channels="gray"))
    assert pixels.shape == (1, 1, 4, 4)
    assert (pixels == 100).all()


def test_shortest_edge_keeps_proportions_and_cuts_the_centre() -> None:
    # Three vertical bars; of a 90 x 30 picture the middle third remains.
    image = Image.new("RGB", (90, 30))
    for column, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        image.paste(colour, (30 * column, 0, 30 * column + 30, 30))
    cut = np.asarray(fit(image, ImagePreprocessing(size=(30, 30))))
    assert cut.shape == (30, 30, 3)
    assert (cut == (0, 255, 0)).all()
    squeezed = np.asarray(fit(image, ImagePreprocessing(size=(30, 30), resize="exact")))
    assert (squeezed[:, 0] == (255, 0, 0)).all()
    assert (squeezed[:, -1] == (0, 0, 255)).all()


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (100, 33), (40, 40), (33, 217)])
def test_crop_fraction_is_resize_then_centre_crop(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    found = np.asarray(fit(image, ImagePreprocessing(size=(28, 28), crop_fraction=0.875)))
    # The usual recipe: the shortest edge becomes 28 / 0.875 = 32, then 28 x 28 from the middle.
    short = min(size)
    wide, tall = (int(32 * edge / short) for edge in size)
    resized = image.resize((wide, tall), Image.Resampling.BILINEAR)
    left, top = round((wide - 28) / 2), round((tall - 28) / 2)
    expected = np.asarray(resized.crop((left, top, left + 28, top + 28)))
    if max(wide, tall) <= 4 * 28:
        assert np.array_equal(found, expected)
    else:
        # Of a very long picture only the middle is resized: equal up to the rounding of one pixel.
        assert np.abs(found.astype(int) - expected.astype(int)).mean() < 12


def test_an_extremely_long_picture_needs_little_memory() -> None:
    data = encoded(Image.new("L", (500_000, 2), 77))
    image = fit(decode(data), ImagePreprocessing(size=(224, 224)))
    assert image.size == (224, 224)
    assert (np.asarray(image) == 77).all()


def test_the_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (20, 10), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    turned = decode(encoded(image, "PNG", exif=exif))
    assert turned.size == (10, 20)
    assert np.asarray(turned)[:10].min() == 255


def test_transparency_lies_over_white() -> None:
    for mode, colour in (("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))):
        assert (np.asarray(decode(encoded(Image.new(mode, (3, 3), colour)))) == 255).all()
    palette = Image.new("P", (3, 3), 1)
    palette.putpalette([0, 0, 0, 0, 200, 0])
    assert (np.asarray(decode(encoded(palette))) == (0, 200, 0)).all()
    assert (np.asarray(decode(encoded(palette, transparency=1))) == 255).all()


def test_16_bit_grey_takes_little_more_than_its_pixels() -> None:
    side = 2048
    given = np.arange(side * side, dtype=np.uint32).reshape(side, side) % 65536
    picture = encoded(Image.fromarray(given.astype(np.uint16)))
    tracemalloc.start()
    try:
        found = decode(picture, channels="gray")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 12 * side * side, "numpy's arrays; doubles alone would take 8 bytes for each of several copies"
    assert np.abs(np.asarray(found).astype(int) - given.astype(np.int64) / 257).max() <= 0.5


def test_16_bit_grey_is_scaled_to_8_bits() -> None:
    values = np.full((3, 3), 32896, dtype=np.uint16)  # 128 * 257
    assert (np.asarray(decode(encoded(Image.fromarray(values)))) == 128).all()
    assert (np.asarray(decode(encoded(Image.fromarray(values), "TIFF"))) == 128).all()


def test_cmyk_jpeg_and_animations_are_read() -> None:
    assert decode(encoded(Image.new("CMYK", (4, 4)), "JPEG")).mode == "RGB"
    frames = [Image.new("L", (4, 4), shade) for shade in (255, 0)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (np.asarray(decode(data)) == 255).all()


def bomb(width: int, height: int) -> bytes:
    """A tiny PNG that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (bomb(50_000, 50_000), "more than 178,956,970 pixels"),
        (bomb(9_000, 9_000), "cannot be read"),
        (b"not a picture", "in none of the formats"),
        (b"", "in none of the formats"),
        (encoded(Image.new("RGB", (64, 64)), "JPEG")[:300], "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "in none of the formats"),
    ],
)
def test_bad_pictures_are_named_by_their_position(data: bytes, told: str) -> None:
    good = encoded(Image.new("RGB", (4, 4)))
    with pytest.raises(InvalidItems) as refused:
        prepare_pictures([good, data], ImagePreprocessing(size=(4, 4)), start=40)
    assert refused.value.detail.startswith("item 41: ")
    assert told in refused.value.detail


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_every_filter_is_pillows(interpolation: Any) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 44, 3), dtype=np.uint8))
    how = ImagePreprocessing(size=(32, 32), interpolation=interpolation, crop_fraction=0.875)
    resized = image.resize((36, 49), Image.Resampling[interpolation.upper()])
    expected = np.asarray(resized.crop((2, round(17 / 2), 34, round(17 / 2) + 32)))
    assert np.array_equal(np.asarray(fit(image, how)), expected)


def test_bgr_turns_the_channels_round() -> None:
    data = encoded(Image.new("RGB", (4, 4), (10, 20, 30)))
    how = ImagePreprocessing(size=(4, 4), channels="bgr", mean=[30.0, 10.0, 10.0], std=[1.0, 2.0, 4.0])
    for layout in ("NCHW", "NHWC"):
        pixels = prepare_pictures([data], how.model_copy(update={"layout": layout}))
        channel = pixels[0, :, 0, 0] if layout == "NCHW" else pixels[0, 0, 0]
        assert np.allclose(channel, [0, 5, 0])


def test_rescale_comes_before_mean_and_std() -> None:
    data = encoded(Image.new("RGB", (4, 4), (255, 51, 0)))
    how = ImagePreprocessing(size=(4, 4), rescale_factor=1 / 255, mean=[0.5], std=[0.25])
    assert np.allclose(prepare_pictures([data], how)[0, :, 0, 0], [2, -1.2, -2], atol=1e-6)


def test_the_longest_edge_fits_on_a_ground_of_the_mean_colour() -> None:
    how = ImagePreprocessing(size=(32, 32), resize="longest_edge", mean=[10.0, 20.0, 30.0])
    found = np.asarray(fit(Image.new("RGB", (80, 40), (200, 200, 200)), how))
    assert (found[:8] == (10, 20, 30)).all()
    assert (found[8:24] == 200).all()
    assert (found[24:] == (10, 20, 30)).all()
