"""The parsers of a teacher's files, and whole validations of teachers."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import torch

from preceptor.contract.base import now
from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.config_files import read_options
from worker.teachers.errors import TeacherUnusable
from worker.teachers.preprocessing.texts import TextEncoder
from worker.teachers.sources.transformers import check_config
from worker.teachers.sources.weights_files import read_shapes
from worker.teachers.validation import Verdict, validate_teacher

from . import teacher_inputs as inputs
from .case import SOURCE, Files, Outcome, Parser, refuse_leftovers, single
from .json_mutations import spoilt, text_of

torch.set_num_threads(1)

_VECTORS: Final = {"modality": "features", "dimension": 6}
_SECONDS: Final = 20.0
_CAP: Final = 3 * 2**30


def _teacher(kind: str, modality: str, labels: list[str] | None) -> Teacher:
    source: dict[str, Any] = {"kind": kind}
    if kind in ("onnx", "torch_export"):
        source["preprocessing"] = _VECTORS
    return Teacher.model_validate(
        {
            "id": new_id(TEACHER),
            "name": "a teacher",
            "status": TeacherStatus.VALIDATING,
            "source": source,
            "modality": modality,
            "labels": labels,
            "created_at": now(),
            "updated_at": now(),
        }
    )


def _written(files: Files, folder: Path) -> set[str]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return set(files)


def _judged(verdict: Verdict) -> Outcome:
    if verdict.status is TeacherStatus.READY:
        return "accepted"
    assert verdict.status is TeacherStatus.REJECTED
    assert verdict.reason is not None
    assert 10 < len(verdict.reason) < 1500, f"a reason of {len(verdict.reason)} characters"
    verdict.reason.encode()
    return "refused"


def _validation(kind: str, isolate: bool | None, files: Files, folder: Path) -> Outcome:
    names = _written(files, folder)
    modality = "features" if kind != "transformers" else "text" if "tokenizer_config.json" in files else "image"
    labels = None if kind == "transformers" else inputs.LABELS
    verdict = validate_teacher(
        _teacher(kind, modality, labels), folder, threads=1, isolate=isolate, timeout_seconds=_SECONDS
    )
    refuse_leftovers(folder, names)
    return _judged(verdict)


def _refused(error: TeacherUnusable) -> Outcome:
    assert 10 < len(error.detail) < 1500, f"a text of {len(error.detail)} characters"
    error.detail.encode()
    return "refused"


def _weights(files: Files, folder: Path) -> Outcome:
    _written(files, folder)
    try:
        read_shapes(folder / SOURCE)
    except TeacherUnusable as error:
        return _refused(error)
    return "accepted"


def _config(files: Files, folder: Path) -> Outcome:
    _written(files, folder)
    try:
        check_config(read_options(folder / SOURCE))
    except TeacherUnusable as error:
        return _refused(error)
    return "accepted"


_TEXTS: Final = ["", "a", "where is my order?", "é" * 50, "銀行カード 🙂", "a" * 4000]


def _tokenizer(files: Files, folder: Path) -> Outcome:
    _written(files, folder)
    try:
        arrays = TextEncoder(folder / SOURCE, max_length=32, pad_id=0).encode(_TEXTS)
    except TeacherUnusable as error:
        return _refused(error)
    assert {array.shape[0] for array in arrays.values()} == {len(_TEXTS)}
    assert max(array.shape[1] for array in arrays.values()) <= 4096
    return "accepted"


def _config_seeds() -> list[Files]:
    return [{SOURCE: files["config.json"]} for files in inputs.transformers_seeds()]


def _spoil_config(seeds: list[Files], rng: Random) -> Files:
    return {SOURCE: text_of(spoilt(json.loads(rng.choice(seeds)[SOURCE]), rng), rng)}


def _text_teacher(files: Files, folder: Path) -> Outcome:
    """A validation of a text model with this tokenizer."""
    whole = inputs.transformers_seeds()[1] | {"tokenizer.json": files[SOURCE]}
    return _validation("transformers", None, whole, folder)


def _isolated(kind: str, seeds: Callable[[], list[Files]], spoil: Callable[[list[Files], Random], Files]) -> Parser:
    """A validation in this process, whose memory is capped; again in a process of its own where this one ends."""
    attempt, contained = partial(_validation, kind, False), partial(_validation, kind, None)
    return Parser(kind.replace("_", "."), seeds, spoil, attempt, contained, memory=_CAP)


PARSERS: Final = [
    Parser("safetensors", lambda: single(inputs.safetensors_seeds()), inputs.spoil_safetensors, _weights),
    Parser("config.json", _config_seeds, _spoil_config, _config),
    Parser(
        "tokenizer",
        lambda: single(inputs.tokenizer_seeds()),
        inputs.spoil_tokenizer,
        _tokenizer,
        contained=_text_teacher,
        memory=_CAP,
    ),
    _isolated("transformers", inputs.transformers_seeds, inputs.spoil_transformers),
    _isolated("torch_export", inputs.torch_export_seeds, inputs.spoil_torch_export),
]
