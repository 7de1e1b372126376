"""Any bytes at all: every parser answers with a probe or with an error of ours, and nothing else."""

import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from preceptor.contract.probes import ProbeFormat
from service.core.errors import PreceptorError
from service.core.settings import Settings
from service.ingest import ingest
from service.ingest.predictions import ingest_predictions

from .sample_files import animation, archive, jsonl, npy, npz, parquet, picture, table_csv

FORMATS = get_args(ProbeFormat)
LIMITS = Settings(max_probe_expanded_bytes=2**24, max_item_bytes=2**20, max_image_pixels=2**16)
SEEDS = {
    "npz": npz(features=np.eye(4), labels=np.array(["a", "b", "a", "b"])),
    "parquet": parquet({"image": [{"bytes": picture(), "path": "x"}] * 3, "label": ["a", "b", "a"]}),
    "zip": archive({"a/1.png": picture(), "b/2.gif": animation(), "b/3.jpg": picture(0, "JPEG")}),
    "jsonl": jsonl(["one", "two"], ["a", "b"]),
    "csv": table_csv(["one", "two, three"], ["a", "b"]),
}
NUMBERS = parquet({"features": [[1.0, 2.0]] * 9, "label": [0, 1, 2] * 3}, data_page_version="2.0", compression="zstd")
TEXTS = npz(texts=np.array(["one", "two"]), y=np.array([0, 1]), label_names=np.array(["a", "b"]))


def attempt(data: bytes, format: ProbeFormat) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.write_bytes(data)
        error: PreceptorError | None = None
        try:
            ingest(source, filename=None, format=format, labels=None, settings=LIMITS, target=target)
        except PreceptorError as raised:
            error = raised
        if error is not None:
            assert error.status in (413, 415, 422)
            assert 10 < len(error.detail) < 1000
            assert error.detail.encode()
            assert not target.exists()


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """A file with some bytes replaced, removed or doubled."""
    edit = st.tuples(st.integers(0, len(data)), st.integers(0, 12), st.binary(max_size=12))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        found = data
        for place, removed, added in edits:
            found = found[:place] + added + found[place + removed :]
        return found

    return st.lists(edit, min_size=1, max_size=3).map(apply)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.binary(max_size=300))
def test_any_bytes(format: ProbeFormat, data: bytes) -> None:
    attempt(data, format)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_file(format: ProbeFormat, data: st.DataObject) -> None:
    attempt(data.draw(damaged(SEEDS[format])), format)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=damaged(NUMBERS))
def test_damaged_vectors(data: bytes) -> None:
    attempt(data, "parquet")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=damaged(TEXTS))
def test_damaged_strings(data: bytes) -> None:
    attempt(data, "npz")


@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=st.one_of(st.binary(max_size=200), damaged(npy(np.eye(4))), damaged(npz(predictions=np.eye(4)))))
def test_damaged_predictions(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.write_bytes(data)
        try:
            ingest_predictions(source, items=4, classes=4, values="logits", target=target, settings=LIMITS)
        except PreceptorError:
            assert not target.exists()
        else:
            assert np.isfinite(np.load(target, allow_pickle=False)).all()
