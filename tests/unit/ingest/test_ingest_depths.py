"""Pictures of other depths than 8 bits a channel, and pictures in which nothing can be seen."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from worker.teachers.preprocessing.images import decode

from .sample_files import archive, npz, read_back

RAMP = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)


def saved(pixels: Any, format: str = "TIFF", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def seen(take: Any, data: bytes, ending: str = "tif") -> np.ndarray:
    """What a teacher sees of a picture that was taken."""
    found = take(archive({f"1.{ending}": data}), "p.zip")
    (batch,) = read_back(found.path).batches(8)
    return np.asarray(decode(batch.images[0], channels="gray")).astype(int)


@pytest.mark.parametrize(
    "pixels",
    [
        RAMP,
        RAMP * 255,
        (RAMP * 65535).astype(np.uint16),
        (RAMP * 65535).astype(np.int32),
        (RAMP * 255).astype(np.int32),
    ],
)
def test_depths_that_are_certain(take: Any, pixels: np.ndarray) -> None:
    assert np.abs(seen(take, saved(pixels)) - RAMP * 255).max() <= 1


def test_pictures_of_few_colours(take: Any) -> None:
    black_and_white = Image.fromarray((RAMP > 0.5).astype(np.uint8) * 255).convert("1")
    assert set(seen(take, saved(black_and_white)).ravel()) == {0, 255}
    assert set(seen(take, saved((RAMP > 0.5).astype(np.float32))).ravel()) == {0, 255}
    clear = Image.fromarray(np.dstack([np.zeros((8, 8, 3)), RAMP * 255]).astype(np.uint8))
    assert np.abs(seen(take, saved(clear, "PNG"), "png") - (1 - RAMP) * 255).max() <= 2


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (RAMP * 2 - 1, "float values from -1 to 1"),
        (RAMP * 65535, "float values from 0 to 6.554e+04"),
        (np.where(RAMP > 0.5, np.nan, RAMP), "not finite"),
        ((RAMP * 1000).astype(np.int32) - 500, "whole values from -500 to 500"),
        ((RAMP * 1e6).astype(np.int32), "whole values from 0 to 1,000,000"),
        ((RAMP * 4095).astype(np.uint16), "values up to 4,095 of 65,535"),
        ((RAMP * 255).astype(np.uint16), "values up to 255 of 65,535"),
    ],
)
def test_depths_that_are_not_certain(refused: Any, pixels: np.ndarray, says: str) -> None:
    error = refused(archive({"1.tif": saved(pixels)}), "p.zip")
    assert error.status == 422
    assert says in error.detail


def test_lab_is_refused_as_no_teacher_could_be_run(refused: Any) -> None:
    lab = Image.new("LAB", (8, 8))
    assert "Save it in RGB" in refused(archive({"1.tif": saved(lab)}), "p.zip").detail


def test_one_range_a_probe(refused: Any, take: Any) -> None:
    mixed = {"1.tif": saved(RAMP), "2.tif": saved(RAMP * 200)}
    assert "'1.tif' has values from 0 to 1, '2.tif' has values from 0 to 255" in refused(archive(mixed), "p.zip").detail
    black = {"1.tif": saved(RAMP * 0), "2.tif": saved(RAMP * 200)}
    assert take(archive(black), "p.zip").description["items"] == 2


def test_twelve_bits_are_dark_and_said(take: Any) -> None:
    found = take(archive({"1.png": saved((RAMP * 16000).astype(np.uint16), "PNG")}), "p.zip")
    assert "values up to 16,000 of 65,535 and are dark" in found.notes["warnings"][0]


def test_pictures_in_which_nothing_can_be_seen(take: Any) -> None:
    ramp = (RAMP * 255).astype(np.uint8)
    images = np.stack([ramp, ramp // 255, ramp * 0 + 128, ramp * 0 + 255])
    warnings = take(npz(images=images), "p.npz").notes["warnings"]
    assert [warning.partition(".")[0] for warning in warnings] == [
        "1 of 4 pictures (25%) are nearly black, the first at row 1",
        "1 of 4 pictures (25%) are of one brightness throughout, the first at row 2",
        "1 of 4 pictures (25%) are nearly white, the first at row 3",
    ]
    clear = np.zeros((8, 8, 4), np.uint8)
    warnings = take(archive({"1.png": saved(clear, "PNG")}), "p.zip").notes["warnings"]
    assert "nearly white" in warnings[0]
    assert take(npz(images=np.stack([ramp, 255 - ramp])), "p.npz").notes["warnings"] == []


@pytest.mark.parametrize("compressed", [True, False])
def test_texts_in_a_png_do_not_count(take: Any, compressed: bool) -> None:
    notes = PngInfo()
    for number in range(3):
        notes.add_text(f"note {number}", "x" * 3_000_000, zip=compressed)
    data = saved((RAMP * 255).astype(np.uint8), "PNG", pnginfo=notes)
    assert np.abs(seen(take, data, "png") - RAMP * 255).max() <= 1
