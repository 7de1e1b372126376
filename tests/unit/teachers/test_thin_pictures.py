"""A picture of 2 x 100,000 pixels costs no more than another, and its pixels are those of the whole resize."""

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.levit.image_processing_pil_levit import LevitImageProcessorPil
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil
from transformers.models.poolformer.image_processing_pil_poolformer import PoolFormerImageProcessorPil
from transformers.models.textnet.image_processing_pil_textnet import TextNetImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from preceptor.contract.teachers import ImagePreprocessing
from worker.errors import InvalidItems
from worker.teachers.errors import TeacherUnusable
from worker.teachers.preprocessing import images, picture_processor
from worker.teachers.preprocessing.images import fit, prepare_pictures
from worker.teachers.preprocessing.picture_processor import PicturePreparation, load_processor
from worker.teachers.preprocessing.resample import resize_window

FILTERS = [Image.Resampling(number) for number in range(6)]


def noise(height: int, width: int, depth: int = 3) -> Image.Image:
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, depth), dtype=np.uint8)
    return Image.fromarray(pixels if depth == 3 else pixels[..., 0])


@pytest.mark.parametrize("resample", FILTERS, ids=lambda resample: resample.name)
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((2, 300), (224, 33600)),
        ((7, 301), (96, 4128)),
        ((40, 30), (100, 75)),
        ((300, 200), (48, 32)),
        ((50, 50), (50, 90)),
        ((50, 50), (90, 50)),
        ((13, 977), (64, 4810)),
        ((400, 3), (36, 36)),
        ((40, 30), (38, 60)),
        ((40, 30), (41, 60)),
        ((100, 200), (90, 190)),
        ((1000, 10), (900, 8)),
    ],
)
def test_a_window_is_a_part_of_what_pillow_makes(
    given: tuple[int, int], wanted: tuple[int, int], resample: Image.Resampling
) -> None:
    for depth in (1, 3):
        image = noise(*given, depth)
        whole = np.atleast_3d(np.asarray(image.resize((wanted[1], wanted[0]), resample)))
        height, width = min(wanted[0], 40), min(wanted[1], 30)
        for top, left in ((0, 0), ((wanted[0] - height) // 2, (wanted[1] - width) // 2)):
            pixels = np.atleast_3d(np.asarray(image))
            found = resize_window(pixels, wanted, (top, left, height, width), resample)
            assert np.array_equal(found, whole[top : top + height, left : left + width])


def most_memory(function: Any, *given: Any) -> tuple[Any, int]:
    tracemalloc.start()
    try:
        made = function(*given)
        return made, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("resize", ["shortest_edge", "longest_edge", "exact"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_registered_preprocessing_is_bounded(resize: Any, interpolation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    how = ImagePreprocessing(size=(32, 32), resize=resize, interpolation=interpolation, crop_fraction=0.875)
    for size in ((3, 400), (400, 3), (3, 8)):
        image = noise(*size)
        monkeypatch.setattr(images, "_MOST_RESIZED", 2**22)
        whole = np.asarray(fit(image, how))
        monkeypatch.setattr(images, "_MOST_RESIZED", 0)
        assert np.array_equal(np.asarray(fit(image, how)), whole)
    monkeypatch.undo()
    made, most = most_memory(fit, noise(100_000, 2), how)
    assert made.size == (32, 32)
    assert most < 50e6


def folder_of(processor: Any, folder: Path) -> Path:
    processor.save_pretrained(folder)
    return folder


CROPPING: dict[str, Any] = {
    "clip": CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
    "clip, odd crop": CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 31, "width": 27}),
    "clip, crop larger than the edge": CLIPImageProcessorPil(
        size={"shortest_edge": 24}, crop_size={"height": 32, "width": 32}
    ),
    "convnext": ConvNextImageProcessorPil(size={"shortest_edge": 32}),
    "levit": LevitImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    "mobilevit": MobileViTImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
    "poolformer": PoolFormerImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
}


@pytest.mark.parametrize("name", CROPPING)
def test_a_models_own_processor_is_bounded_and_exact(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = CROPPING[name]
    bounded = load_processor(folder_of(processor, tmp_path))
    thin = [noise(2, 301), noise(301, 2), noise(5, 77), noise(40, 30)]
    for limit in (picture_processor.MOST_PIXELS, 0):  # 0: the crop alone is computed even of small pictures.
        monkeypatch.setattr(picture_processor, "MOST_PIXELS", limit or 1100)
        for image in thin:
            expected = processor(images=[image], return_tensors="np")["pixel_values"]
            found = bounded(images=[image], return_tensors="np")["pixel_values"]
            assert np.array_equal(found, expected)
    monkeypatch.undo()
    made, most = most_memory(lambda: bounded(images=[noise(2, 100_000)], return_tensors="np")["pixel_values"])
    assert made.shape[1] == 3
    assert most < 50e6


def test_without_a_crop_a_thin_picture_is_refused(tmp_path: Path) -> None:
    uncropped = CLIPImageProcessorPil(size={"shortest_edge": 224}, do_center_crop=False)
    for number, processor in enumerate([uncropped, TextNetImageProcessorPil(size={"shortest_edge": 224})]):
        prepare = PicturePreparation(load_processor(folder_of(processor, tmp_path / str(number))), {"pixel_values"})
        assert prepare.arrays(noise(30, 40))["pixel_values"].shape[1] == 3
        with pytest.raises(InvalidItems, match=r"would become .* pixels for this teacher"):
            prepare.arrays(noise(2, 100_000))


def test_a_picture_that_is_not_resized_is_bounded(tmp_path: Path) -> None:
    processor = ViTImageProcessorPil(do_resize=False)
    prepare = PicturePreparation(load_processor(folder_of(processor, tmp_path)), {"pixel_values"})
    assert prepare.arrays(noise(9, 7))["pixel_values"].shape == (1, 3, 9, 7)
    with pytest.raises(InvalidItems, match="3,000 x 2,000 pixels"):
        prepare.arrays(Image.new("RGB", (3000, 2000)))


def test_sizes_of_patches_are_checked(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "Siglip2ImageProcessor", "max_num_patches": 100000000}'
    )
    with pytest.raises(TeacherUnusable, match=r"'max_num_patches' in preprocessor_config\.json is 100000000"):
        load_processor(tmp_path)


def test_a_thin_picture_among_others_is_prepared() -> None:
    buffer = io.BytesIO()
    noise(20_000, 2).save(buffer, "PNG")
    pixels = prepare_pictures([buffer.getvalue()], ImagePreprocessing(size=(224, 224), channels="bgr"))
    assert pixels.shape == (1, 3, 224, 224)
