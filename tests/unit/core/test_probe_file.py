"""The canonical file of a probe: written item by item, read in batches in any order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.core.errors import InvalidProbe, PreceptorError
from service.core.storage.probe_file import FORMAT, ProbeWriter, open_probe


def written(path: Path, modality: Any, items: Any, labels: Any = None, names: Any = None, **options: Any) -> str:
    with ProbeWriter(path, modality, labelled=labels is not None, **options) as writer:
        for position, item in enumerate(items):
            writer.add(item, None if labels is None else labels[position])
        return writer.finish(names)


def test_pictures(tmp_path: Path) -> None:
    items = [bytes([number]) * number for number in range(10)]
    written(tmp_path / "p", "image", items, [number % 2 for number in range(10)], ["a", "b"])
    probe = open_probe(tmp_path / "p")
    assert (probe.modality, probe.items, probe.dimension, probe.label_names) == ("image", 10, None, ["a", "b"])
    assert probe.labels is not None
    assert probe.labels.tolist() == [0, 1] * 5
    batches = list(probe.batches(4))
    assert [(batch.start, len(batch)) for batch in batches] == [(0, 4), (4, 4), (8, 2)]
    assert [data for batch in batches for data in batch.images or ()] == items
    assert all(batch.texts is None and batch.features is None for batch in batches)


def test_unlabelled_texts(tmp_path: Path) -> None:
    written(tmp_path / "p", "text", ["eins", "", "三"])
    probe = open_probe(tmp_path / "p")
    assert (probe.labels, probe.label_names) == (None, None)
    (batch,) = probe.batches(5)
    assert (batch.texts, batch.labels) == (["eins", "", "三"], None)


def test_chosen_items_in_their_order_across_row_groups(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(9000, 40)).astype(np.float32)
    written(tmp_path / "p", "features", features, list(range(9000)), dimension=40)
    assert pq.ParquetFile(tmp_path / "p").num_row_groups > 1
    probe = open_probe(tmp_path / "p")
    chosen = np.random.default_rng(1).integers(0, 9000, 700)
    batches: list[Any] = list(probe.batches(64, chosen))
    assert [batch.start for batch in batches] == list(range(0, 700, 64))
    np.testing.assert_array_equal(np.concatenate([batch.features for batch in batches]), features[chosen])
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), chosen)
    assert list(probe.batches(5, [])) == []


@pytest.mark.parametrize("indices", [[-1], [3], [0, 1, 99]])
def test_items_that_are_not_there(tmp_path: Path, indices: list[int]) -> None:
    written(tmp_path / "p", "text", ["a", "b", "c"])
    with pytest.raises(IndexError, match="the probe has 3 items"):
        open_probe(tmp_path / "p").batches(2, indices)


def test_row_groups_are_bounded(tmp_path: Path) -> None:
    written(tmp_path / "p", "image", [bytes(300_000)] * 20)
    metadata = pq.ParquetFile(tmp_path / "p").metadata
    assert max(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)) == 4


def test_an_opaque_probe_has_no_items_to_read(tmp_path: Path) -> None:
    written(tmp_path / "p", "opaque", [None] * 5, [0, 1, 0, 1, 1])
    probe = open_probe(tmp_path / "p")
    assert (probe.items, probe.labels.tolist() if probe.labels is not None else None) == (5, [0, 1, 0, 1, 1])
    with pytest.raises(InvalidProbe, match="were not uploaded"):
        probe.batches(2)


def test_the_digest_is_of_the_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = written(tmp_path / "p", "text", ["ab", "c"], [0, 1], ["x", "y"])
    monkeypatch.setattr("service.core.storage.probe_file._GROUP_ROWS", 1)
    assert written(tmp_path / "q", "text", ["ab", "c"], [0, 1], ["x", "y"]) == first
    assert (tmp_path / "p").read_bytes() != (tmp_path / "q").read_bytes()
    others = {
        written(tmp_path / "r", "text", ["a", "bc"], [0, 1], ["x", "y"]),
        written(tmp_path / "r", "text", ["ab", "c"], [1, 0], ["x", "y"]),
        written(tmp_path / "r", "text", ["ab", "c"], [0, 1], ["y", "x"]),
        written(tmp_path / "r", "text", ["ab", "c"], [0, 1]),
        written(tmp_path / "r", "text", ["ab", "c"]),
        written(tmp_path / "r", "image", [b"ab", b"c"], [0, 1], ["x", "y"]),
    }
    assert len(others | {first}) == 7


def test_the_digest_does_not_drift(tmp_path: Path) -> None:
    """Stored ids depend on it: a change of this value orphans every probe and needs a new FORMAT."""
    assert FORMAT == "preceptor-probe-1"
    digest = written(tmp_path / "p", "features", np.eye(2, dtype=np.float32), [0, 1], ["é", "b"], dimension=2)
    assert digest == "e98137e72a7c24e899bd595c0f3e590d7070a14f99cd25228588b1daf02d9c01"


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    def interrupted() -> Any:
        yield "a"
        raise KeyError

    with pytest.raises(KeyError):
        written(tmp_path / "p", "text", interrupted())
    assert not (tmp_path / "p").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(PreceptorError, match="no room left") as caught:
        written(tmp_path / "full", "image", [bytes(2**20)] * 3)
    assert caught.value.status == 507


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PreceptorError) as caught:
        written(tmp_path / "no" / "p", "text", ["a"])
    assert caught.value.status == 503


def test_files_that_are_no_probe(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"junk")
    with pytest.raises(InvalidProbe, match=r"cannot be read.*upload it again"):
        open_probe(tmp_path / "p")
    written(tmp_path / "p", "text", ["a" * 50] * 100)
    whole = (tmp_path / "p").read_bytes()
    (tmp_path / "q").write_bytes(whole[:-10])
    with pytest.raises(InvalidProbe, match="upload it again"):
        open_probe(tmp_path / "q")
    table = pq.read_table(tmp_path / "p").replace_schema_metadata(
        {"preceptor": json.dumps({"format": "other", "items": 100})}
    )
    pq.write_table(table, tmp_path / "r")
    with pytest.raises(InvalidProbe, match="other"):
        open_probe(tmp_path / "r")
    (tmp_path / "s").write_bytes(whole[:4] + b"\xff" * 20 + whole[24:])
    with pytest.raises(InvalidProbe, match="damaged"):
        list(open_probe(tmp_path / "s").batches(10))
