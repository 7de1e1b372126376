"""The learning curve as a picture, drawn with Pillow: no plotting library is needed for a few lines.

It is kept beside the TensorBoard file: the picture needs no tool, the file compares runs and zooms.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

from preceptor.contract.distillations import EpochMetrics

_WIDTH: Final = 640
_HEIGHT: Final = 360
_MARGIN: Final = 48
_COLOURS: Final = {"loss": (31, 119, 180), "cross_entropy": (255, 127, 14), "accuracy": (44, 160, 44)}
_PLAIN: Final = (214, 39, 40)


def draw_curve(history: list[EpochMetrics], path: Path, plain: Sequence[EpochMetrics] = ()) -> None:
    """Draw loss and cross-entropy (left scale) and test accuracy (right scale, 0 to 1) by epoch as a PNG.

    Parameters
    ----------
    plain
        Epochs of the same student without teachers; its accuracy is also drawn.
    """
    epochs = max(len(history), len(plain))
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    box = (_MARGIN, _MARGIN // 2, _WIDTH - _MARGIN, _HEIGHT - _MARGIN)
    draw.rectangle(box, outline=(160, 160, 160))
    losses = [metrics.loss for metrics in history] + [metrics.cross_entropy for metrics in history]
    top = max([*losses, 1e-6])
    _line(draw, box, [metrics.loss for metrics in history], top, _COLOURS["loss"], epochs)
    _line(draw, box, [metrics.cross_entropy for metrics in history], top, _COLOURS["cross_entropy"], epochs)
    _line(draw, box, [metrics.accuracy for metrics in plain], 1.0, _PLAIN, epochs)
    _line(draw, box, [metrics.accuracy for metrics in history], 1.0, _COLOURS["accuracy"], epochs)
    draw.text((4, box[1]), f"{top:.2f}", fill="black")
    draw.text((4, box[3] - 8), "0", fill="black")
    draw.text((box[2] + 6, box[1]), "1.0", fill="black")
    draw.text((box[2] + 6, box[3] - 8), "0.0", fill="black")
    draw.text((box[0], box[3] + 6), "epoch 1", fill="black")
    draw.text((box[2] - 50, box[3] + 6), f"epoch {epochs}", fill="black")
    legend = _COLOURS | ({"accuracy without teacher": _PLAIN} if plain else {})
    for place, (name, colour) in enumerate(legend.items()):
        left = box[0] + 10 + 130 * place
        draw.line([(left, box[3] + 32), (left + 18, box[3] + 32)], fill=colour, width=3)
        draw.text((left + 24, box[3] + 26), name.replace("_", " "), fill="black")
    image.save(path, format="PNG")


def _line(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    values: Sequence[float | None],
    top: float,
    colour: tuple[int, int, int],
    epochs: int,
) -> None:
    left, upper, right, lower = box
    # Not every epoch is measured; the line joins the measured ones.
    step = (right - left) / max(1, epochs - 1)
    points = [
        (left + number * step, lower - (lower - upper) * min(1.0, max(0.0, value / top)))
        for number, value in enumerate(values)
        if value is not None
    ]
    if len(points) > 1:
        draw.line(points, fill=colour, width=2)
    for x, y in points:
        draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour)
