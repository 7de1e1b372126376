"""What a tokenizer's files say about reading one text: which tokenizer, cut where, padded how.

Model and tokenizer were trained together, in nearly all cases with transformers. So its reading is the right one, and
it is more than `tokenizer.json`: `do_lower_case`, `strip_accents`, `add_prefix_space`, `truncation_side`,
`model_max_length` and others stand in `tokenizer_config.json`, and a tokenizer class may build normaliser and splitting
itself. transformers is asked (`as_transformers`) instead of followed in code of our own, on a copy of the files that
holds data only.
"""

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from ..config_files import read_options
from ..errors import TeacherUnusable, is_panic

_MOST_ADDED: Final = 2**16
"""Entries of all added tokens in the files beside tokenizer.json: they are read one by one, in Python."""
# Keys that lead to files, code or templates, none of which reading a text needs.
_LEFT_OUT: Final = re.compile(
    r".*(_file|_files|_path|_dir|_template|_templates|_object|_class)|auto_map|name_or_path|init_inputs|backend|"
    r"post_processor|tokenizer_padding|tokenizer_truncation|vocab|merges|is_local|local_files_only|trust_remote_code|"
    r"token|revision|_.*"
)
_TABLES: Final = frozenset({"added_tokens_decoder", "extra_special_tokens", "additional_special_tokens"})
_CLASS: Final = re.compile(r"[A-Za-z0-9_]{0,80}(Tokenizer|TokenizerFast|TokenizersBackend|PythonBackend)")
_OVERRIDDEN: Final = frozenset({"CodeLlamaTokenizer"})
"""Their own encoding differs for texts with a gap to fill only."""


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """How one text becomes numbers.

    Attributes
    ----------
    tokenizer
        A `tokenizers.Tokenizer`.
    inputs
        Names of the model's inputs that the tokenizer makes; None if its files do not say.
    max_length
        Tokens of a text, special ones included; None if the files name no limit.
    truncate_left
        Whether the end of a longer text is kept instead of its start.
    pad_left, pad_id, pad_type
        Side, token and token type of padding; `pad_id` is None if there is no such token.
    """

    tokenizer: Any
    inputs: frozenset[str] | None = None
    max_length: int | None = None
    truncate_left: bool = False
    pad_left: bool = False
    pad_id: int | None = None
    pad_type: int = 0


def as_described(described: dict[str, Any], options: dict[str, Any]) -> TokenizerSettings:
    """The tokenizer as `tokenizer.json` alone describes it, for files that name no class of transformers.

    Parameters
    ----------
    described
        The content of `tokenizer.json`.
    options
        That of `tokenizer_config.json`, which may name limit, sides and padding token.
    """
    # Written anew, so that the library sees what was checked: of two entries with one name it may take another.
    tokenizer: Any = Tokenizer.from_str(json.dumps(described))
    token = options.get("pad_token")
    if isinstance(token, dict):
        token = token.get("content")
    padding: dict[str, Any] = tokenizer.padding or {}
    cutting: dict[str, Any] = tokenizer.truncation or {}
    found = tokenizer.token_to_id(token) if isinstance(token, str) else None
    names = options.get("model_input_names")
    return TokenizerSettings(
        tokenizer=tokenizer,
        inputs=frozenset(map(str, names)) if isinstance(names, list) else None,
        max_length=_limit(options.get("model_max_length")),
        truncate_left=(options.get("truncation_side") or cutting.get("direction")) == "left",
        pad_left=(options.get("padding_side") or padding.get("direction")) == "left",
        pad_id=found if found is not None else padding.get("pad_id"),
        pad_type=padding.get("pad_type_id", 0),
    )


def as_transformers(described: dict[str, Any], folder: Path, options: dict[str, Any], config: Any) -> TokenizerSettings:
    """The tokenizer as `transformers.AutoTokenizer` reads it.

    Parameters
    ----------
    described
        The content of `tokenizer.json`, checked.
    folder
        Where the other files lie.
    options
        The content of `tokenizer_config.json`.
    config
        The model's `PreTrainedConfig`; None if there is none.

    Raises
    ------
    TeacherUnusable
        transformers cannot read it, or reads it with code that is no tokenizer of the library `tokenizers`.
    """
    from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

    with tempfile.TemporaryDirectory(prefix="tokenizer-") as place:
        copy = Path(place)
        _write(copy / "tokenizer.json", described)
        _write(copy / "tokenizer_config.json", _data_only(options))
        for name in ("special_tokens_map.json", "added_tokens.json"):
            content = _small_object(folder / name)
            if content:
                _write(copy / name, content)
        model = _small_object(folder / "config.json")
        # Read again by a correction for tokenizers of Mistral.
        kept = {key: model[key] for key in ("model_type", "transformers_version") if isinstance(model.get(key), str)}
        _write(copy / "config.json", kept)
        try:
            found: Any = AutoTokenizer.from_pretrained(
                copy,
                config=PreTrainedConfig() if config is None else config,
                local_files_only=True,
                trust_remote_code=False,
            )
        except BaseException as error:  # tokenizers raises bare Exception, or panics
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            reason = (str(error) or type(error).__name__).replace(place, "").splitlines()[0][:160]
            raise TeacherUnusable(
                f"transformers cannot read tokenizer.json with tokenizer_config.json ({reason}); save both again with "
                f"AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)"
            ) from None
    kind = type(found)
    if not isinstance(found, PreTrainedTokenizerFast) or (
        kind._encode_plus is not PreTrainedTokenizerFast._encode_plus and kind.__name__ not in _OVERRIDDEN
    ):
        raise TeacherUnusable(
            f"tokenizer_config.json names the tokenizer class {kind.__name__!r}, which does more than tokenizer.json "
            f"describes; export model and tokenizer to ONNX and register that (source 'onnx')"
        )
    tokenizer: Any = found.backend_tokenizer
    padding: Any = found.pad_token_id
    return TokenizerSettings(
        tokenizer=tokenizer,
        inputs=frozenset(found.model_input_names),
        max_length=_limit(found.model_max_length),
        truncate_left=found.truncation_side == "left",
        pad_left=found.padding_side == "left",
        pad_id=padding,
        pad_type=found.pad_token_type_id,
    )


def _limit(value: Any) -> int | None:
    # Tokenizers without a limit store 1e30.
    return int(value) if isinstance(value, (int, float)) and 0 < value < 2**20 else None


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _small_object(path: Path) -> dict[str, Any]:
    content = read_options(path)
    _refuse_many(content, path.name)
    return content


def _data_only(options: dict[str, Any]) -> dict[str, Any]:
    """The options that concern the reading of a text, without those that lead to files or code."""
    _refuse_many(options, "tokenizer_config.json")
    kept = {name: value for name, value in options.items() if name in _TABLES or not _LEFT_OUT.fullmatch(name)}
    name = options.get("tokenizer_class")
    if isinstance(name, str) and _CLASS.fullmatch(name):
        kept["tokenizer_class"] = name
    return kept


def _refuse_many(content: dict[str, Any], name: str) -> None:
    entries, waiting = 0, [content]
    while waiting:
        part: Any = waiting.pop()
        parts = list(part.values()) if isinstance(part, dict) else part if isinstance(part, list) else []
        entries += len(parts)
        if entries > 16 * _MOST_ADDED:
            raise TeacherUnusable(f"{name} has more than {_MOST_ADDED:,} added tokens; use a smaller tokenizer")
        waiting.extend(parts)
