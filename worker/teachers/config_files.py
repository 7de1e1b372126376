"""Reads the small JSON files that describe a model: config.json, tokenizer_config.json and the like."""

import json
from pathlib import Path
from typing import Any, Final

from .errors import TeacherUnusable

_LARGEST: Final = 64 * 2**20


def read_options(path: Path) -> dict[str, Any]:
    """A small JSON object from a file; empty where there is no such file."""
    if not path.is_file():
        return {}
    if path.stat().st_size > _LARGEST:
        raise TeacherUnusable(f"{path.name} is larger than {_LARGEST // 2**20} MiB; save the model again")
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise TeacherUnusable(f"{path.name} is not valid JSON ({error}); save the model again") from None
    if not isinstance(options, dict):
        raise TeacherUnusable(f"{path.name} must hold a JSON object; save the model again")
    return options
