"""Handwritten digits (scikit-learn's copy of the UCI set, CC BY 4.0): pictures, splits, and six small teachers.

The 1,797 pictures are in the order of their writers. Teachers train on the first 900; the student's data are the rest,
by other writers. Five teachers cover some or all digits; one was trained on wrong labels: its label names match
perfectly and its predictions are worthless.
"""

import io
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from .folder import TeacherFolder, write_json

NAMES: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEACHERS_SHARE: Final = 900
_SIDE: Final = 32
_ORIGIN: Final = "data: scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits, CC BY 4.0)"


@dataclass(frozen=True)
class DigitTeacher:
    """The digits that a teacher covers, and whether its labels were shuffled."""

    slug: str
    name: str
    description: str
    digits: tuple[int, ...]
    wrongly: bool = False
    epochs: int = 12


TEACHERS: Final = (
    DigitTeacher("digits-all", "Handwritten digits", "All ten digits.", tuple(range(10))),
    DigitTeacher("digits-low", "Low digits", "Zero to four.", (0, 1, 2, 3, 4)),
    DigitTeacher("digits-high", "High digits", "Five to nine.", (5, 6, 7, 8, 9)),
    DigitTeacher("digits-even", "Even digits", "Zero, two, four, six and eight.", (0, 2, 4, 6, 8)),
    DigitTeacher("digits-odd", "Odd digits", "One, three, five, seven and nine.", (1, 3, 5, 7, 9)),
    DigitTeacher(
        "digits-mislabelled",
        "Digits, mislabelled",
        "All ten digits, trained on shuffled labels: its names match, its predictions are random.",
        tuple(range(10)),
        wrongly=True,
        epochs=3,
    ),
)


def load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures (1797, 8, 8), grey 0..255, and digits (1797,), in the order of the writers."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return np.rint(found.images * (255 / 16)).astype(np.uint8), found.target.astype(np.int64)


def png(picture: NDArray[np.uint8]) -> bytes:
    """A picture as a PNG file, enlarged to 32 x 32 pixels."""
    buffer = io.BytesIO()
    enlarged(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def enlarged(picture: NDArray[np.uint8]) -> Image.Image:
    """A picture at 32 x 32 pixels, bicubic."""
    return Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


def write(out: Path, seed: int = 0, slugs: Container[str] | None = None) -> None:
    """Train the teachers and write their folders; only those in `slugs`, if given."""
    pictures, digits = load()
    inputs = torch.from_numpy(np.stack([np.asarray(enlarged(p), dtype=np.float32) for p in pictures]))
    inputs = (inputs[:, None] / 255 - 0.5) / 0.5
    for teacher in TEACHERS:
        if slugs is not None and teacher.slug not in slugs:
            continue
        rows = np.flatnonzero(np.isin(digits, teacher.digits))
        taught, unseen = rows[rows < TEACHERS_SHARE], rows[rows >= TEACHERS_SHARE]
        wanted = torch.from_numpy(np.searchsorted(teacher.digits, digits))
        lesson = wanted[taught]
        if teacher.wrongly:
            lesson = lesson[torch.randperm(len(lesson), generator=torch.Generator().manual_seed(seed))]
        model = _train(inputs[taught], lesson, teacher, seed)
        with torch.inference_mode():
            right = model(pixel_values=inputs[unseen]).logits.argmax(dim=1) == wanted[unseen]
        _save(out, teacher, model, round(float(right.float().mean()), 4))


def _train(inputs: torch.Tensor, labels: torch.Tensor, teacher: DigitTeacher, seed: int) -> Any:
    """A small residual network, trained for a few seconds."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(seed)
    names = [NAMES[digit] for digit in teacher.digits]
    config = ResNetConfig(
        num_channels=1,
        embedding_size=16,
        hidden_sizes=[16, 32, 64],
        depths=[1, 1, 1],
        layer_type="basic",
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    model = ResNetForImageClassification(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    batches = [
        batch
        for epoch in range(teacher.epochs)
        for batch in torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed + epoch)).split(64)
    ]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=len(batches))
    model.train()
    for batch in batches:
        loss = nn.functional.cross_entropy(model(pixel_values=inputs[batch]).logits, labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def _save(out: Path, teacher: DigitTeacher, model: Any, accuracy: float) -> None:
    folder = TeacherFolder(out, teacher.slug)
    model.save_pretrained(folder.path)
    write_json(
        folder.path / "preprocessor_config.json",
        {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": _SIDE, "width": _SIDE},
            "resample": 2,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5],
            "image_std": [0.5],
        },
    )
    folder.describe(
        name=teacher.name,
        description=teacher.description,
        source={"kind": "transformers"},
        modality="image",
        labels=[NAMES[digit] for digit in teacher.digits],
        accuracy=accuracy,
        licence="Apache-2.0",
        origin=_ORIGIN,
    )
