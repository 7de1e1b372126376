"""Examples of an ingested probe: one a class, in words."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preceptor.contract.probes import ProbeModality
from service.core.storage.probe_file import ProbeWriter
from service.ingest.examples import examples


def written(
    path: Path, modality: ProbeModality, items: list, labels: list[int] | None, names: list[str] | None
) -> Path:
    dimension = len(items[0]) if modality == "features" else None
    with ProbeWriter(path, modality, labelled=labels is not None, dimension=dimension) as writer:
        for place, item in enumerate(items):
            writer.add(item, None if labels is None else labels[place])
        writer.finish(names)
    return path


def test_the_first_text_of_each_class(tmp_path: Path) -> None:
    texts = ["one", "two", "three", "x" * 500]
    path = written(tmp_path / "p", "text", texts, [1, 1, 0, 2], ["a", "b", "c"])
    found = examples(path)
    assert [(row["position"], row["label"]) for row in found] == [(0, "b"), (2, "a"), (3, "c")]
    assert [row["item"] for row in found[:2]] == ["one", "three"]
    assert len(found[2]["item"]) == 160


def test_classes_without_names_are_numbers(tmp_path: Path) -> None:
    vectors = [np.array([0.5, 1, 2, 3, 4], np.float32)] * 2
    [only] = examples(written(tmp_path / "p", "features", vectors, [7, 7], None))
    assert only == {"position": 0, "label": "7", "item": "[0.5, 1, 2, 3, …], 5 values"}


def test_pictures_are_described(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    Image.new("L", (30, 20)).save(file)
    [only] = examples(written(tmp_path / "p", "image", [file.read_bytes()], None, None))
    assert only == {"position": 0, "label": None, "item": "30 x 20 pixels, PNG, mode L"}


@pytest.mark.parametrize(("labels", "count"), [(None, 5), (list(range(9)), 5), ([0] * 9, 1)])
def test_there_are_at_most_five(tmp_path: Path, labels: list[int] | None, count: int) -> None:
    assert len(examples(written(tmp_path / "p", "opaque", [None] * 9, labels, None))) == count
