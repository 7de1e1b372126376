"""The same items in the same order with the same labels are one probe, whatever format brought them."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings, strategies as st

from service.core.settings import Settings
from service.ingest import ingest

from .sample_files import archive, jsonl, npz, parquet, picture, read_back, table_csv

QUICK = settings(max_examples=25, deadline=None, derandomize=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
NAME = st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=8).map(lambda name: f"k{name}")


def taken(data: bytes, filename: str, labels: list[str] | None = None) -> tuple[str, dict[str, Any], list[Any]]:
    """Digest, description without format, and the items with their labels as they are read back."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "probe"
        source.write_bytes(data)
        found = ingest(source, filename=filename, format=None, labels=labels, settings=Settings(), target=target)
        probe = read_back(target)
        items: list[Any] = []
        for batch in probe.batches(3):
            content = batch.images or batch.texts or [row.tobytes() for row in batch.features]
            items += zip(content, batch.labels if batch.labels is not None else [None] * len(batch), strict=True)
    return found.digest, {key: value for key, value in found.description.items() if key != "format"}, items


def agree(ways: dict[str, bytes], content: list[Any], labels: list[str] | None) -> None:
    names = sorted(set(labels)) if labels else None
    expected = [(item, names.index(labels[i]) if names and labels else None) for i, item in enumerate(content)]
    results = {name: taken(data, name) for name, data in ways.items()}
    digest, description, _ = next(iter(results.values()))
    for name, result in results.items():
        assert result[2] == expected, name
        assert (result[0], result[1]) == (digest, description), name


def labelled(items: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Items with labels of at least two classes."""
    return given(
        st.lists(st.tuples(items, NAME), min_size=2, max_size=12).filter(lambda rows: len({row[1] for row in rows}) > 1)
    )


@QUICK
@labelled(TEXT)
def test_labelled_texts(rows: list[tuple[str, str]]) -> None:
    texts, labels = [row[0] for row in rows], [row[1] for row in rows]
    names = sorted(set(labels))
    numbers = [names.index(label) for label in labels]
    ways = {
        "p.jsonl": jsonl(texts, labels),
        "p.csv": table_csv(texts, labels),
        "p.parquet": parquet({"text": texts, "label": labels}),
        "q.parquet": parquet({"text": texts, "label": numbers}, class_names=names),
        "p.npz": npz(texts=np.array(texts), labels=np.array(labels)),
        "q.npz": npz(texts=np.array(texts), y=np.array(numbers), label_names=np.array(names)),
    }
    agree(ways, texts, labels)


@QUICK
@given(st.lists(TEXT, min_size=1, max_size=12))
def test_unlabelled_texts(texts: list[str]) -> None:
    ways = {
        "p.jsonl": jsonl(texts),
        "q.jsonl": jsonl(texts, [None] * len(texts)),
        "p.csv": table_csv(texts),
        "p.parquet": parquet({"text": texts}),
        "p.npz": npz(texts=np.array(texts)),
        "p.zip": archive({f"{number:03}.txt": text.encode() for number, text in enumerate(texts)}),
    }
    if any(text.startswith("\ufeff") for text in texts):
        ways.pop("p.zip")  # a byte order mark belongs to the file there, not to the text
    agree(ways, texts, None)


@QUICK
@labelled(st.integers(0, 99))
def test_labelled_pictures(rows: list[tuple[int, str]]) -> None:
    rows = sorted(rows, key=lambda row: row[1])  # an archive is read in the order of its paths
    pictures, labels = [picture(row[0]) for row in rows], [row[1] for row in rows]
    ways = {
        "p.parquet": parquet({"image": pictures, "label": labels}),
        "q.parquet": parquet({"image": [{"bytes": data, "path": None} for data in pictures], "label": labels}),
        "p.zip": archive({f"{label}/{n:03}.png": pictures[n] for n, label in enumerate(labels)}),
        "q.zip": archive({f"top/{label}/{n:03}.png": pictures[n] for n, label in enumerate(labels)}),
    }
    agree(ways, pictures, labels)


@QUICK
@labelled(st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 3))
def test_labelled_features(rows: list[tuple[tuple[float, ...], str]]) -> None:
    features, labels = np.array([row[0] for row in rows], np.float32), [row[1] for row in rows]
    ways = {
        "p.npz": npz(features=features, labels=np.array(labels)),
        "q.npz": npz(features=features.astype(">f8"), labels=np.array(labels)),
        "p.parquet": parquet({"features": features.tolist(), "label": labels}),
    }
    agree(ways, [row.tobytes() for row in features], labels)


@QUICK
@given(st.lists(st.tuples(TEXT, st.sampled_from(["a", "b"])), min_size=2, max_size=6), st.data())
def test_other_content_is_another_probe(rows: list[tuple[str, str]], data: st.DataObject) -> None:
    def digest(rows: list[tuple[str, str]], names: list[str]) -> str:
        return taken(jsonl([row[0] for row in rows], [row[1] for row in rows]), "p.jsonl", names)[0]

    first = digest(rows, ["a", "b"])
    place = data.draw(st.integers(0, len(rows) - 1))
    text, label = rows[place]
    for changed in ((text + "x", label), (text, "b" if label == "a" else "a")):
        assert digest([*rows[:place], changed, *rows[place + 1 :]], ["a", "b"]) != first
    assert digest([*rows, rows[0]], ["a", "b"]) != first
    assert digest(rows, ["a", "b", "c"]) != first
    if rows[::-1] != rows:
        assert digest(rows[::-1], ["a", "b"]) != first
