"""Equal and nearly equal items of two probes."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.core.storage.item_hashes import (
    hash_of_bytes,
    hash_of_text,
    hash_of_vector,
    hashes_of_picture,
    overlap,
    read_hashes,
)


def scene(seed: int, side: int = 96) -> Image.Image:
    """A smooth random picture of mode L."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def recompressed(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=60)
    return Image.open(buffer)


def hashes(*rows: tuple[int, ...]) -> np.ndarray:
    return np.array([(*row, 0)[:3] for row in rows], dtype=np.uint64).reshape(-1, 3)


def test_pictures_that_were_saved_again_are_near_and_others_are_not() -> None:
    scenes = [scene(seed) for seed in range(60)]
    first = hashes(*((number + 1, *hashes_of_picture(one)) for number, one in enumerate(scenes)))
    changed = [recompressed(one.resize((64, 64))) for one in scenes]
    again = hashes(*((number + 1000, *hashes_of_picture(one)) for number, one in enumerate(changed)))
    assert overlap(first, again, pictures=True).near >= 50
    others = hashes(*((number + 2000, *hashes_of_picture(scene(seed))) for number, seed in enumerate(range(60, 120))))
    assert overlap(first, others, pictures=True).near == 0


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_picture_is_like_no_other(value: int) -> None:
    assert hashes_of_picture(Image.new("L", (32, 32), value)) == (0, 0)
    assert overlap(hashes((1, 0)), hashes((2, 0)), pictures=True).near == 0


def test_texts() -> None:
    assert hash_of_text("Where is my  PARCEL, please?") == hash_of_text("where is my parcel please")
    assert hash_of_text("where is my parcel please") != hash_of_text("where is your parcel please")
    assert hash_of_text("Yes!") == 0
    assert hash_of_text("荷物はどこにありますか、教えてください") != 0


def test_vectors() -> None:
    vector = np.random.default_rng(0).normal(size=64).astype(np.float32)
    assert hash_of_vector(vector) == hash_of_vector(vector * (1 + 1e-7))
    assert hash_of_vector(vector) != hash_of_vector(vector[::-1].copy())
    assert hash_of_vector(np.zeros(4, np.float32)) == 0


def test_overlap_counts_items_of_the_first() -> None:
    found = overlap(hashes((5, 1), (6, 2), (5, 9), (7, 3)), hashes((9, 3), (5, 4)), pictures=False)
    assert (found.equal, found.near, found.of, found.examples) == (2, 1, 4, [(0, 1), (2, 1)])
    assert found.shown() == "item 0 is item 1, item 2 is item 1"
    assert overlap(hashes((1, 1)), hashes(), pictures=True).equal == 0


def test_a_damaged_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "hashes.npy"
    np.save(path, hashes((hash_of_bytes(b"a"), 0)))
    found = read_hashes(path, 1)
    assert found is not None
    assert int(found[0, 0]) == hash_of_bytes(b"a")
    assert read_hashes(path, 2) is None
    path.write_bytes(b"junk")
    assert read_hashes(path, 1) is None
    assert read_hashes(tmp_path / "absent", 1) is None
