"""Files around a teacher's weights, a listing of the Hub, and the state of a distillation that was stopped."""

import json
from pathlib import Path
from random import Random
from typing import Any, Final

import torch

from worker.distillation.training.checkpoints import Ledger
from worker.teachers.config_files import read_options
from worker.teachers.errors import TeacherUnusable, reason_of
from worker.teachers.sources import hub, timm, transformers
from worker.teachers.sources.weights_files import stored_shapes

from . import teacher_inputs as inputs
from .byte_mutations import damaged
from .case import SOURCE, Files, Outcome, Parser, Reached, single
from .json_mutations import STRINGS, spoilt, text_of

_FINGERPRINT: Final = "0" * 64
_INDEX: Final = "model.safetensors.index.json"
_SHARDS: Final = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def _refused(error: TeacherUnusable) -> Outcome:
    text = reason_of(error)
    assert 10 < len(text) < 1500, f"a text of {len(text)} characters"
    text.encode()
    return "refused"


def _load(error: Exception, folder: Path) -> Outcome:
    """What `load_teacher` makes of any error while a model is loaded: a sentence without a path."""
    text = reason_of(error, folder)
    assert 10 < len(text) < 1500, f"a text of {len(text)} characters"
    assert str(folder) not in text
    text.encode()
    return "refused"


_TIMM: Final = {
    "architecture": "resnet18",
    "num_classes": 3,
    "pretrained_cfg": {
        "input_size": [3, 224, 224], "fixed_input_size": False, "interpolation": "bicubic", "crop_pct": 0.875,
        "crop_mode": "center", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "num_classes": 3,
    },
}  # fmt: skip


def _timm(files: Files, folder: Path) -> Reached:
    """`config.json` of a timm model: the options that it gives, and our preprocessing from them."""
    path = folder / "config.json"
    path.write_bytes(files[SOURCE])
    try:
        options = read_options(path)
    except TeacherUnusable as error:
        return Reached(_refused(error), "not read")
    try:
        given = options.get("pretrained_cfg", options)
        made = timm.preprocessing_of({**_TIMM["pretrained_cfg"], **given})
    except Exception as error:
        return Reached(_load(error, folder), "read")
    assert made.size[0] * made.size[1] < 2**26
    return Reached("accepted", "made into a preprocessing")


def _timm_extra(rng: Random) -> Any:
    return rng.choice(
        ([3, 0, 224], [3, 2**31, 2**31], [1, 32, 32], [224], [], [float("nan")] * 3, [0, 0, 0], "squash", 0, 1e-300, -1)
    )


def _spoil_timm(seeds: list[Files], rng: Random) -> Files:
    return {SOURCE: text_of(spoilt(json.loads(rng.choice(seeds)[SOURCE]), rng, _timm_extra), rng)}


_LISTING: Final = {
    "id": "someone/model",
    "sha": "0" * 40,
    "siblings": [
        {"rfilename": "config.json", "size": 700},
        {
            "rfilename": "model.safetensors",
            "size": 40_000,
            "lfs": {"size": 40_000, "sha256": "0" * 64, "pointerSize": 130},
        },
        {"rfilename": "preprocessor_config.json", "size": 300},
        {"rfilename": "pytorch_model.bin", "size": 40_000},
        {"rfilename": "README.md"},
    ],
    "tags": ["image-classification"],
    "cardData": {"license": "mit"},
}


def _listing(files: Files, folder: Path) -> Reached:
    """The answer of a Hub, as its library reads it, and what is then fetched."""
    from huggingface_hub.hf_api import ModelInfo

    stage = "not read"
    try:
        known = ModelInfo(**json.loads(files[SOURCE]))
        stage = "read"
        sizes = {file.rfilename: file.size or 0 for file in known.siblings or ()}
        wanted = hub._wanted("someone/model", sizes)  # pyright: ignore[reportPrivateUsage]
    except TeacherUnusable as error:
        return Reached(_refused(error), stage)
    except Exception:  # `fetch` answers for all of them with one sentence
        return Reached("refused", stage)
    for name in wanted:
        assert not Path(name).is_absolute(), name
        assert ".." not in Path(name).parts, name
        assert name.endswith((".json", ".safetensors", ".txt")), name
    return Reached("accepted", "chosen")


def _listing_extra(rng: Random) -> Any:
    names = ("../config.json", "/etc/passwd.json", "a/b.safetensors", "model.pkl", "x.py", "C:\\x.json", *STRINGS)
    sizes = (2**62, -(2**62), "9", 1.5, None, [1])
    return rng.choice(({"rfilename": rng.choice(names), "size": rng.choice(sizes)}, rng.choice(names)))


def _spoil_listing(seeds: list[Files], rng: Random) -> Files:
    return {SOURCE: text_of(spoilt(json.loads(rng.choice(seeds)[SOURCE]), rng, _listing_extra), rng)}


def _index_seeds() -> list[Files]:
    whole = inputs.safetensors_seeds()
    weights = {"a": _SHARDS[0], "b": _SHARDS[0], "c": _SHARDS[0], "scalar": _SHARDS[1]}
    index = {"metadata": {"total_size": 60}, "weight_map": weights}
    return [{_INDEX: json.dumps(index).encode(), **dict(zip(_SHARDS, whole, strict=True))}]


def _spoil_index(seeds: list[Files], rng: Random) -> Files:
    files = dict(rng.choice(seeds))
    kind = rng.randrange(8)
    if kind == 0:
        del files[rng.choice(_SHARDS)]
    elif kind == 1:
        name = rng.choice(_SHARDS)
        files[name] = inputs.spoilt_weights(files[name], rng)
    else:
        files[_INDEX] = text_of(spoilt(json.loads(files[_INDEX]), rng, _index_extra), rng)
    return files


def _index_extra(rng: Random) -> Any:
    return rng.choice(
        (*_SHARDS, "../x.safetensors", "/etc/passwd", "config.json", _INDEX, "", "\x00", ["x"], {"a": _SHARDS[0]}, 7)
    )


def _index(files: Files, folder: Path) -> Reached:
    """A model whose weights lie in several files: which they are, whether they are all there, what they hold."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    stage = "not read"
    try:
        hub.is_complete(folder)
        paths = transformers._weight_files(folder, set(files))  # pyright: ignore[reportPrivateUsage]
        stage = "read"
        assert all(path.parent == folder and path.name in files for path in paths), paths
        stored_shapes(paths)
    except TeacherUnusable as error:
        return Reached(_refused(error), stage)
    except AssertionError:
        raise
    except Exception as error:
        return Reached(_load(error, folder), stage)
    return Reached("accepted", "weights read")


class _Kept:
    """A checkpoint in memory."""

    every_seconds = 0.0

    def __init__(self, state: bytes | None) -> None:
        self.state = state

    def load(self) -> bytes | None:
        return self.state

    def save(self, state: bytes) -> None:
        self.state = state


def _checkpoint_seeds() -> list[bytes]:
    """One with a finished and a running run, and one with a running run alone."""
    found: list[bytes] = []
    for finished in (True, False):
        kept = _Kept(None)
        ledger = Ledger(kept, _FINGERPRINT)
        if finished:
            ledger.finish("baseline", {"weights": torch.ones(3), "facts": torch.zeros(2, dtype=torch.uint8)})
        state = {"weight": torch.zeros(2, 2), "moment": torch.ones(1)}
        ledger.offer("student", lambda state=state: (state, {"step": 7}), now=True)
        assert kept.state is not None
        found.append(kept.state)
    return found


def _spoil_checkpoint(seeds: list[Files], rng: Random) -> Files:
    """A header that is spoilt, the facts in it spoilt, or damage."""
    data = rng.choice(seeds)[SOURCE]
    if rng.random() < 0.3:
        return {SOURCE: damaged(data, rng)}
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if rng.random() < 0.7:
        facts = text_of(spoilt(json.loads(header["__metadata__"]["facts"]), rng), rng)
        header["__metadata__"]["facts"] = facts.decode("utf-8", "replace")
        text = json.dumps(header).encode()
    else:
        text = text_of(spoilt(header, rng), rng)
    return {SOURCE: len(text).to_bytes(8, "little") + text + data[8 + length :]}


def _checkpoint(files: Files, folder: Path) -> Outcome:
    """A state that cannot be used costs time, not the job: nothing is raised, and the run begins anew."""
    ledger = Ledger(_Kept(files[SOURCE]), _FINGERPRINT)
    running = ledger.running("student")
    if running is None and ledger.finished("baseline") is None:
        return "refused"
    for tensors in (ledger.finished("baseline") or {}, running[0] if running else {}):
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    return "accepted"


PARSERS: Final = [
    Parser("timm config", lambda: single([json.dumps(_TIMM).encode()]), _spoil_timm, _timm),
    Parser("hub listing", lambda: single([json.dumps(_LISTING).encode()]), _spoil_listing, _listing),
    Parser("sharded index", _index_seeds, _spoil_index, _index),
    Parser("checkpoint", lambda: single(_checkpoint_seeds()), _spoil_checkpoint, _checkpoint),
]
