"""What the product has written itself and reads again: a disk, a Redis or another release may have changed it."""

import json
import struct
import tempfile
import zlib
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

import numpy as np

from service.core.errors import InvalidProbe
from service.core.settings import Settings
from service.core.storage.probe_file import open_probe
from service.ingest import ingest
from tests.unit.ingest.sample_files import archive, jsonl, npz, picture
from worker.errors import InvalidItems
from worker.teachers.errors import TeacherUnusable
from worker.teachers.outputs import TeacherOutputs, decode_outputs, encode_outputs
from worker.teachers.predictions import read_predictions
from worker.teachers.preprocessing.images import decode
from worker.transport.index_files import DamagedIndexError
from worker.transport.label_index import LabelIndex

from . import probe_inputs
from .byte_mutations import damaged
from .case import SOURCE, Files, Outcome, Parser, Reached, single
from .json_mutations import spoilt, text_of

_ENCODER: Final = "an encoder"
_DIMENSION: Final = 4
_PICTURE: Final = 5 * 2**29
"""About 14 bytes for each of the pixels that are decoded at most: one that is palette, RGBA and RGB at a time."""
_HEAD: Final = struct.Struct("<BHIQIQd16s")  # of a record, behind its checksum


def _read_again(error: TeacherUnusable | InvalidProbe | InvalidItems) -> Outcome:
    assert 10 < len(error.detail) < 3000, f"a text of {len(error.detail)} characters"
    error.detail.encode()
    return "refused"


def _decoded(files: Files, folder: Path) -> Outcome:
    channels = "gray" if len(files[SOURCE]) % 3 == 0 else "rgb"
    try:
        image = decode(files[SOURCE], channels=channels)
    except InvalidItems as error:
        return _read_again(error)
    assert image.mode == ("L" if channels == "gray" else "RGB")
    return "accepted"


def _predictions(files: Files, folder: Path) -> Outcome:
    (folder / SOURCE).write_bytes(files[SOURCE])
    values: Literal["logits", "probabilities"] = "logits" if len(files[SOURCE]) % 2 else "probabilities"
    try:
        found = read_predictions(folder / SOURCE, 4, 3, values)
    except TeacherUnusable as error:
        return _read_again(error)
    assert found.shape == (4, 3)
    assert np.isfinite(found).all()
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-3
    return "accepted"


def _outputs(files: Files, folder: Path) -> Outcome:
    try:
        found = decode_outputs(files[SOURCE])
    except ValueError:
        return "refused"
    assert found.logits.dtype == np.float32
    return "accepted"


def _output_seeds() -> list[bytes]:
    logits = np.arange(12, dtype=np.float32).reshape(4, 3)
    both = TeacherOutputs(logits, np.ones((4, 2), np.float32))
    return [encode_outputs(TeacherOutputs(logits)), encode_outputs(both), encode_outputs(both, half=True)]


def _spoil_outputs(seeds: list[Files], rng: Random) -> Files:
    data = rng.choice(seeds)[SOURCE]
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.4:
        return {SOURCE: damaged(data, rng, [files[SOURCE] for files in seeds])}
    header = text_of(spoilt(json.loads(data[8 : 8 + length]), rng), rng)
    return {SOURCE: len(header).to_bytes(8, "little") + header + data[8 + length :]}


def _probe_seeds() -> list[Files]:
    """Canonical files, made as uploads make them."""
    sources = {
        "npz": npz(features=[[1.0, 2.0], [3.0, 4.0]], labels=["a", "b"]),
        "zip": archive({"a/1.png": picture(), "b/2.png": picture(1)}),
        "jsonl": jsonl(["one", "two"], ["a", "b"]),
    }
    return [{SOURCE: content, "format": name.encode()} for name, content in sources.items()]


def _canonical() -> list[Files]:
    found: list[Files] = []
    with tempfile.TemporaryDirectory() as name:
        for number, files in enumerate(_probe_seeds()):
            source, target = Path(name) / f"source {number}", Path(name) / f"target {number}"
            source.write_bytes(files[SOURCE])
            format: Any = files["format"].decode()
            ingest(source, filename=None, format=format, labels=None, settings=Settings(), target=target)
            found.append({SOURCE: target.read_bytes()})
    return found


def _probe(files: Files, folder: Path) -> Reached:
    path = folder / SOURCE
    path.write_bytes(files[SOURCE])
    stage = "not opened"
    try:
        probe = open_probe(path)
        stage = "opened"
        read = sum(batch.size for batch in probe.batches(64))
        assert read == probe.items
    except InvalidProbe as error:
        return Reached(_read_again(error), stage)
    return Reached("accepted", "read")


def _spoil_probe(seeds: list[Files], rng: Random) -> Files:
    """Damage; and other words of the same length in what the columns mean."""
    data = rng.choice(seeds)[SOURCE]
    if rng.random() < 0.4:
        for old, new in rng.sample(_WORDS, 3):
            data = data.replace(old, new.ljust(len(old))[: len(old)])
        return {SOURCE: data}
    return {SOURCE: damaged(data, rng, [files[SOURCE] for files in seeds])}


_WORDS: Final = [
    (b'"items": 2', b'"items": 9'), (b'"items": 2', b'"items":-2'), (b'"items": 2', b'"items": 0'),
    (b'"dimension": 2', b'"dimension": 0'), (b'"dimension": 2', b'"dimension": 7'), (b'"dimension"', b'"dimensiom"'),
    (b'"labelled": true', b'"labelled": 0'), (b'"modality": "features"', b'"modality": "opaque"'),
    (b'"modality": "text"', b'"modality": "imag"'), (b'"modality": "image"', b'"modality": "text"'),
    (b"features", b"texts"), (b"label", b"lable"), (b'"label_names": ["a", "b"]', b'"label_names": 7'),
    (b"preceptor-probe-1", b"preceptor-probe-2"), (b"PAR1", b"PAR2"), (b"ARROW:schema", b"ARROW:shemas"),
]  # fmt: skip


def _index_seeds() -> list[Files]:
    """Indexes of a few teachers: one plain, one from which a teacher was removed, one that was compacted."""
    rng = np.random.default_rng(1)
    found: list[Files] = []
    for kind in range(3):
        with tempfile.TemporaryDirectory() as name:
            index = LabelIndex.open(name, _ENCODER, _DIMENSION)
            for number in range(4):
                labels = [f"label {number} {place}" for place in range(3)]
                index.add(f"tch_{number}", labels, rng.normal(size=(3, _DIMENSION)), [1, 2, 3])
            if kind:
                index.remove("tch_1")
            if kind == 2:
                index.compact()
            files = [path for path in Path(name).rglob("*") if path.is_file() and path.name != "lock"]
            found.append({str(path.relative_to(name)).replace("/", "~"): path.read_bytes() for path in files})
    return found


def _spoil_index(seeds: list[Files], rng: Random) -> Files:
    """One or two files spoilt: records with right sums and absurd numbers, cut data, another head."""
    files = dict(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice([*files, *[name for name in files if name.endswith(("CURRENT", "teachers.log"))] * 3])
        if name == "CURRENT" and rng.random() < 0.8:
            files[name] = text_of(spoilt(_loaded(files[name]), rng), rng)
        elif name.endswith("teachers.log") and rng.random() < 0.8:
            files[name] += _record(rng)
        elif rng.random() < 0.1:
            del files[name]
        else:
            files[name] = damaged(files[name], rng)
        if not files:
            break
    return files


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return {}


def _record(rng: Random) -> bytes:
    name = rng.choice((b"tch_0", b"tch_9", b"\xff\xfe", b"", b"n" * 60_000))
    sizes = (0, 1, 3, 12, 2**31, 2**32 - 1)
    large = (0, 3, 9, 12, 2**31, 2**62, 2**64 - 1)
    body = _HEAD.pack(
        rng.choice((1, 1, 1, 2, 3)), len(name), rng.choice(sizes), rng.choice(large), rng.choice(sizes),
        rng.choice((0, 20, 2**40, 2**64 - 1)), rng.choice((0.5, float("nan"), float("inf"))), bytes(16),
    ) + name  # fmt: skip
    return (zlib.crc32(body) ^ (rng.random() < 0.1)).to_bytes(4, "little") + body


def _index(files: Files, folder: Path) -> Reached:
    for name, content in files.items():
        path = folder / "index" / name.replace("~", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    stage = "not opened"
    try:
        index = LabelIndex.open(folder / "index", _ENCODER, _DIMENSION)
        stage = "opened"
        zoo = index.zoo()
        assert len(zoo.teachers) == len(zoo.starts) == len(index)
        index.labels()
        stage = "read"
        index.add("tch_new", ["new"], [[1.0, 0.0, 0.0, 0.0]])
        assert "tch_new" in index
    except (DamagedIndexError, ValueError) as error:
        if type(error) not in (DamagedIndexError, ValueError):
            raise
        return Reached("refused", stage)
    return Reached("accepted", "written")


PARSERS: Final = [
    Parser(
        "pictures.decode",
        lambda: single(probe_inputs.picture_seeds()),
        probe_inputs.spoil_picture,
        _decoded,
        memory=_PICTURE,
    ),
    Parser("read_predictions", lambda: single(probe_inputs.prediction_seeds()), probe_inputs.spoil_npz, _predictions),
    Parser("teacher outputs", lambda: single(_output_seeds()), _spoil_outputs, _outputs),
    Parser("stored probe", _canonical, _spoil_probe, _probe),
    Parser("label index", _index_seeds, _spoil_index, _index),
]
