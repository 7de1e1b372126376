"""Files of some kilobytes that ask for gigabytes or for days are refused, and say what to do."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.core.errors import InvalidProbe, TooLarge
from service.core.settings import Settings
from service.core.tiff import tile_pixels
from service.ingest.images import check_picture
from service.ingest.predictions import ingest_predictions
from service.ingest.readers import npz as npz_reader
from service.ingest.readers.parquet import reader
from worker.errors import InvalidItems
from worker.teachers.preprocessing.images import decode

from .hostile_files import EMPTY_CHUNK, blank, footer, shared, tiff
from .sample_files import animation, npz, parquet, picture, pq


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (footer(chunks=286_000, chunk=EMPTY_CHUNK), 422, "its footer is not readable"),
        (footer(chunks=140_000), 413, "and 131,072 of all row groups together"),
        (footer(columns=10_001), 413, "10,001 columns in 1 row groups; at most 10,000"),
        (footer(chunks=5_000_000, chunk=EMPTY_CHUNK), 413, "more than 2,097,152 entries"),
        (footer(entries=3_000_000), 413, "more than 2,097,152 entries"),
    ],
)
def test_a_footer_is_counted_before_the_library_sees_it(
    refused: Any, monkeypatch: pytest.MonkeyPatch, data: bytes, status: int, says: str
) -> None:
    monkeypatch.setattr(reader, "_opened", lambda *_, **__: pytest.fail("it was opened"))
    begun = time.process_time()
    error = refused(data, "p.parquet")
    assert (error.status, says in error.detail) == (status, True), error.detail
    assert time.process_time() - begun < 30


def test_many_small_row_groups_are_taken(take: Any) -> None:
    data = parquet({"text": [f"text {n}" for n in range(9000)], "label": [0, 1, 2] * 3000}, row_group_size=1)
    assert take(data, "p.parquet").description["items"] == 9000


def test_a_picture_that_many_rows_share_counts_for_each(refused: Any) -> None:
    data = shared(blank(2000), 1_000_000)
    assert len(data) < 100_000
    begun = time.process_time()
    error = refused(data, "p.parquet", max_probe_pixels=20_000_000)
    assert error.status == 413
    assert "row 5: up to here the pictures have more than 20,000,000 pixels together" in error.detail
    assert time.process_time() - begun < 20


def test_pixels_are_counted_before_they_are_decoded() -> None:
    with pytest.raises(TooLarge, match="together"):
        check_picture(picture(0, "PNG", size=(64, 64))[:60], "row 0", Settings(max_probe_pixels=4095))


def test_pixels_of_arrays_count_too(refused: Any) -> None:
    error = refused(npz(images=np.zeros((5, 10, 10), np.uint8)), "p.npz", max_probe_pixels=499)
    assert error.status == 413
    assert "500 pixels in all; at most 499" in error.detail


@pytest.mark.parametrize(
    ("data", "filename"),
    [
        (shared("x" * 100_000, 5000, "text"), "p.parquet"),
        (npz(texts=np.array(["x" * 5000] * 20_000)), "p.npz"),
        (npz(features=np.zeros((9000, 4000), np.int8)), "p.npz"),
    ],
)
def test_what_expands_too_far(refused: Any, data: bytes, filename: str) -> None:
    assert len(data) < 500_000
    error = refused(data, filename)
    assert error.status == 413
    assert "which is more than 200-fold" in error.detail


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.zeros((1000, 300, 300), np.uint8)},
        {"images": np.zeros((100, 300, 300, 4), np.uint8), "label_names": np.array(["x"] * 10_000, "<U5000")},
        {"features": np.zeros((20_000, 1000), np.float64)},
        {"labels": np.zeros(20_000_000, np.int64)},
    ],
)
def test_an_npz_is_held_to_its_expansion_before_it_is_read(
    refused: Any, monkeypatch: pytest.MonkeyPatch, arrays: dict[str, Any]
) -> None:
    monkeypatch.setattr(npz_reader, "_rows", lambda *_: pytest.fail("it was read"))
    error = refused(npz(**arrays), "p.npz")
    assert error.status == 413
    assert "which is more than 200-fold" in error.detail


def test_what_expands_far_and_stays_small_is_taken(take: Any) -> None:
    data = shared("x" * 10_000, 5000, "text")
    assert 200 * len(data) < 50_000_000
    assert take(data, "p.parquet").description["items"] == 5000


def test_predictions_that_would_fill_the_store(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(npz(predictions=np.zeros((4, 3), np.uint8)))
    with pytest.raises(TooLarge, match=r"take 80,000,000,000 bytes; at most 8,589,934,592"):
        ingest_predictions(
            tmp_path / "source",
            items=1_000_000,
            classes=20_000,
            values="logits",
            target=tmp_path / "target",
            settings=Settings(),
        )
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])  # Pillow has no other
def test_a_small_picture_in_a_huge_tile(order: str, big: bool) -> None:
    data = tiff(order=order, big=big, tile=16384)
    assert tile_pixels(data) == 16384**2
    with pytest.raises(TooLarge, match=r"row 3: the picture has tiles of 268,435,456 pixels"):
        check_picture(data, "row 3", Settings())
    with pytest.raises(InvalidItems, match="scale it down"):
        decode(data)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])  # Pillow has no other
def test_tiles_of_an_honest_size(order: str, big: bool) -> None:
    data = tiff(order=order, big=big, side=100, tile=128)
    assert tile_pixels(data) == 128**2
    assert check_picture(data, "row 3", Settings()).pixels == 10_000
    assert decode(data).size == (100, 100)


def test_a_picture_in_strips_has_no_tiles() -> None:
    assert tile_pixels(picture(0, "TIFF")) == 0


@pytest.mark.parametrize(
    "data",
    [
        tiff((322, 4, 16384)),  # libtiff takes the first, Pillow the last
        tiff((256, 4, 100_000)),
        tiff().replace(b"\x42\x01\x04\x00", b"\x42\x01\x05\x00"),  # a fraction, which lies elsewhere
        tiff()[:60],
    ],
)
def test_a_directory_that_cannot_be_relied_on(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"names \d+ twice|is no number|cut off"):
        tile_pixels(data)
    with pytest.raises(InvalidProbe):
        check_picture(data, "row 3", Settings())
    with pytest.raises(InvalidItems):
        decode(data)


def test_of_an_animation_the_first_frame_counts() -> None:
    assert check_picture(animation(), "item", Settings()).pixels > 0


def test_pyarrow_reads_the_footers_made_here(tmp_path: Path) -> None:
    """They are refused for what they hold, and not because nobody could read them."""
    (tmp_path / "p.parquet").write_bytes(footer(chunks=3, columns=4, chunk=EMPTY_CHUNK))
    with pytest.raises(Exception, match=r"(?i)metadata|column|schema|root|children"):
        pq.ParquetFile(tmp_path / "p.parquet")
