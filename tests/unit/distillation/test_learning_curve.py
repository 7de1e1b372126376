"""The learning curve: a line for each measure that there is, and one for the student without teachers."""

from pathlib import Path

from PIL import Image

from preceptor.contract.distillations import EpochMetrics
from worker.distillation.export.learning_curve import draw_curve

GREEN, RED = (44, 160, 44), (214, 39, 40)


def epochs(*accuracies: float | None) -> list[EpochMetrics]:
    return [
        EpochMetrics(epoch=number, loss=1.0, cross_entropy=0.5, transport=0.5, accuracy=accuracy, seconds=0.1)
        for number, accuracy in enumerate(accuracies, 1)
    ]


def drawn(path: Path) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Where the plot, without its legend, has the accuracy with and without teachers."""
    picture = Image.open(path).convert("RGB")
    points = {(x, y): picture.getpixel((x, y)) for x in range(picture.width) for y in range(312)}
    return tuple({place for place, seen in points.items() if seen == colour} for colour in (GREEN, RED))  # pyright: ignore


def test_the_student_without_teachers_is_drawn_below_the_better_one(tmp_path: Path) -> None:
    draw_curve(epochs(0.5, 0.9), tmp_path / "c.png", epochs(0.4, 0.6))
    taught, plain = drawn(tmp_path / "c.png")
    assert min(y for _, y in taught) < min(y for _, y in plain)
    assert {min(x for x, _ in taught), max(x for x, _ in taught)} == {
        min(x for x, _ in plain),
        max(x for x, _ in plain),
    }


def test_nothing_is_drawn_that_was_not_measured(tmp_path: Path) -> None:
    draw_curve(epochs(None, None), tmp_path / "c.png")
    assert drawn(tmp_path / "c.png") == (set(), set())
    draw_curve(epochs(0.5, None, 0.7), tmp_path / "c.png")
    taught, plain = drawn(tmp_path / "c.png")
    assert taught
    assert plain == set()


def test_a_student_that_stopped_earlier_ends_earlier(tmp_path: Path) -> None:
    draw_curve(epochs(0.5, 0.5), tmp_path / "c.png", epochs(0.4, 0.4, 0.4, 0.4))
    taught, plain = drawn(tmp_path / "c.png")
    assert max(x for x, _ in taught) < max(x for x, _ in plain)
