"""The parsers of uploads: probes of all formats, single pictures, predictions; and strict JSON."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.probes import ProbeFormat
from service.core.errors import PreceptorError
from service.core.settings import Settings
from service.core.storage.probe_file import open_probe
from service.http.strict_json import parsed
from service.ingest import ingest
from service.ingest.images import check_picture
from service.ingest.predictions import ingest_predictions

from . import probe_inputs as inputs
from .byte_mutations import noise
from .case import SOURCE, Files, Outcome, Parser, refuse_leftovers, single
from .json_mutations import spoilt, text_of

LIMITS: Final = Settings(max_probe_expanded_bytes=2**24, max_item_bytes=2**20, max_image_pixels=2**20)
_STATUSES: Final = (400, 413, 415, 422)


def _refused(error: PreceptorError) -> Outcome:
    """The error is one for the caller, and its text can be read and sent."""
    assert error.status in _STATUSES, f"status {error.status}: {error.detail}"
    assert 10 < len(error.detail) < 1500, f"a text of {len(error.detail)} characters"
    error.detail.encode()
    return "refused"


def _probe(format: ProbeFormat, files: Files, folder: Path) -> Outcome:
    source, target = folder / SOURCE, folder / "target"
    source.write_bytes(files[SOURCE])
    labels = inputs.NAMES[:3] if len(files[SOURCE]) % 7 == 0 else None
    try:
        made = ingest(
            source,
            filename=None,
            format=format,
            labels=None if labels is None else list(labels),
            settings=LIMITS,
            target=target,
        )
    except PreceptorError as error:
        refuse_leftovers(folder, {SOURCE})
        return _refused(error)
    refuse_leftovers(folder, {SOURCE, "target"})
    # What was taken in must also be readable by a worker.
    probe = open_probe(target)
    assert probe.items == made.description["items"] > 0
    if probe.modality != "opaque":
        assert sum(batch.size for batch in probe.batches(64)) == probe.items
    return "accepted"


def _picture(files: Files, folder: Path) -> Outcome:
    try:
        check_picture(files[SOURCE], "item 0", LIMITS)
    except PreceptorError as error:
        return _refused(error)
    return "accepted"


def _predictions(files: Files, folder: Path) -> Outcome:
    source, target = folder / SOURCE, folder / "target"
    source.write_bytes(files[SOURCE])
    values = "logits" if len(files[SOURCE]) % 2 else "probabilities"
    try:
        ingest_predictions(source, items=4, classes=3, values=values, target=target, settings=LIMITS)
    except PreceptorError as error:
        refuse_leftovers(folder, {SOURCE})
        return _refused(error)
    found = np.load(target, allow_pickle=False)
    assert found.shape == (4, 3)
    assert np.isfinite(found).all()
    return "accepted"


_BODY: Final[dict[str, Any]] = {
    "labels": list(inputs.NAMES),
    "descriptions": {"cat": "A small animal", "猫": "ねこ"},
    "prior": [1, 2.5, 1e3, 0, 4, 5, 6, 7],
    "embeddings": [[0.5, 1.0]] * 8,
}


def _strict_json(files: Files, folder: Path) -> Outcome:
    try:
        value = parsed(files[SOURCE])
    except PreceptorError as error:
        return _refused(error)
    # What is read can be stored and answered.
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    try:
        made = LabelSetBody.model_validate(value)
    except ValidationError:
        return "refused"
    made.identity()
    return "accepted"


def _spoil_json(seeds: list[Files], rng: Random) -> Files:
    if rng.random() < 0.05:
        return {SOURCE: noise(rng)}
    return {SOURCE: text_of(spoilt(_BODY, rng), rng)}


def _of_format(
    format: ProbeFormat, seeds: Callable[[], list[bytes]], spoil: Callable[[list[Files], Random], Files]
) -> Parser:
    return Parser(f"probe {format}", lambda: single(seeds()), spoil, partial(_probe, format))


PARSERS: Final = [
    _of_format("npz", inputs.npz_seeds, inputs.spoil_npz),
    _of_format("parquet", inputs.parquet_seeds, inputs.spoil_parquet),
    _of_format("zip", inputs.zip_seeds, inputs.spoil_zip),
    _of_format("jsonl", partial(inputs.text_seeds, "jsonl"), inputs.spoil_jsonl),
    _of_format("csv", partial(inputs.text_seeds, "csv"), inputs.spoil_csv),
    Parser("picture", lambda: single(inputs.picture_seeds()), inputs.spoil_picture, _picture),
    Parser("predictions", lambda: single(inputs.prediction_seeds()), inputs.spoil_npz, _predictions),
    Parser("strict json", lambda: single([json.dumps(_BODY).encode()]), _spoil_json, _strict_json),
]
