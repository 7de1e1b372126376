"""Pictures that cannot be taken, and uploads whose format cannot be determined."""

import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.core.errors import InvalidProbe, TooLarge
from service.core.settings import Settings
from service.ingest.images import check_picture

from .sample_files import animation, archive, claimed_png, jsonl, npz, parquet, picture


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_accepted_formats(format: str) -> None:
    check_picture(picture(0, format), "item", Settings())


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_accepted_modes(mode: str) -> None:
    check_picture(picture(0, "PNG", mode=mode), "item", Settings())


def test_an_animation_counts_as_its_first_frame() -> None:
    check_picture(animation(), "item", Settings())


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (9_000, 9_000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_that_declares_a_huge_size(width: int, height: int) -> None:
    with pytest.raises(TooLarge, match=r"row 3: the picture has .*pixels.*Scale it down"):
        check_picture(claimed_png(width, height), "row 3", Settings())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_a_picture_that_is_cut_off(format: str, part: float) -> None:
    whole = picture(0, format, size=(64, 64))
    with pytest.raises(InvalidProbe, match=r"row 3: (this is not a readable picture|the picture is damaged)"):
        check_picture(whole[: int(len(whole) * part)], "row 3", Settings())


def test_a_limit_beyond_what_can_be_decoded() -> None:
    with pytest.raises(TooLarge, match=r"row 3: .* at most 178,956,970 are taken"):
        check_picture(claimed_png(100_000, 100_000), "row 3", Settings(max_image_pixels=10**12))


def test_pixels_that_are_missing() -> None:
    with pytest.raises(InvalidProbe, match="row 3: the picture is damaged"):
        check_picture(claimed_png(500, 500), "row 3", Settings())


@pytest.mark.parametrize(
    "data",
    [b"", b"text", b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture(0, "PPM"), picture(0, "ICO")],
)
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(InvalidProbe, match=r"row 3: this is not a readable picture \(JPEG, PNG"):
        check_picture(data, "row 3", Settings())


PARTS = {f"{name}/{number}.png": picture(number) for number, name in enumerate("aabb")}


@pytest.mark.parametrize(
    ("data", "filename", "decoded"),
    [
        (archive(PARTS), "p.zip", 4),
        (parquet({"image": list(PARTS.values()), "label": [0, 0, 1, 1]}), "p.parquet", 4),
        (npz(images=np.zeros((4, 5, 5), np.uint8), labels=np.arange(4) % 2), "p.npz", 0),
    ],
)
def test_each_picture_is_decoded_once(
    take: Any, monkeypatch: pytest.MonkeyPatch, data: bytes, filename: str, decoded: int
) -> None:
    opened: list[bytes] = []
    real = Image.open

    def counting(file: Any, *args: Any, **options: Any) -> Any:
        opened.append(file.getvalue())
        return real(file, *args, **options)

    monkeypatch.setattr(Image, "open", counting)
    assert take(data, filename).description["items"] == 4
    assert (len(opened), len(set(opened))) == (decoded, decoded)


FEATURES = np.eye(3)


@pytest.mark.parametrize(
    ("data", "filename", "format"),
    [
        (npz(features=FEATURES), None, "npz"),
        (npz(features=FEATURES), "PROBE.NPZ", "npz"),
        (parquet({"text": ["a"]}), None, "parquet"),
        (parquet({"text": ["a"]}), "part-0.pq", "parquet"),
        (archive({"a.txt": b"a"}), None, "zip"),
        (jsonl(["a"]), None, "jsonl"),
        (b"\xef\xbb\xbf" + jsonl(["a"]), "a.b.ndjson", "jsonl"),
        (b"text\na\n", "a.csv", "csv"),
    ],
)
def test_how_the_format_is_found(take: Any, data: bytes, filename: str | None, format: str) -> None:
    assert take(data, filename).description["format"] == format


def test_the_format_that_is_said_comes_first(take: Any, refused: Any) -> None:
    assert take(b"text\na\n", "strange.name", format="csv").description["format"] == "csv"
    assert "not readable Parquet" in refused(npz(features=FEATURES), "x.npz", format="parquet").detail
    assert "not a readable npz archive" in refused(jsonl(["a"]), "x.npz").detail


@pytest.mark.parametrize(
    ("data", "filename", "says"),
    [
        (b"x", "model.pkl", ["'model.pkl'", "pickles, which can run code", "numpy.savez"]),
        (b"x", "model.PT", ["pickles"]),
        (b"x", "x.npy", ["'x.npy'", "numpy.savez('probe.npz', features=array)"]),
        (b"x", "x.docx", ["'x.docx' is not known", "npz, parquet, zip (one folder a class), jsonl and csv"]),
        (b"x", "x.jsonl.gz", ["unpacked"]),
        (pickle.dumps([1]), None, ["looks like a pickle", "none is ever loaded"]),
        (b"hello", None, ["cannot be determined", "?filename=", "?format="]),
        (b"", None, ["cannot be determined"]),
    ],
)
def test_formats_that_are_not_taken(refused: Any, data: bytes, filename: str | None, says: list[str]) -> None:
    error = refused(data, filename)
    assert error.status == 415
    for part in says:
        assert part in error.detail
