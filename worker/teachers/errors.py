"""Turns whatever goes wrong inside a model library into one readable sentence: never a trace, never a path."""

import re
from pathlib import Path
from typing import Final

from worker.errors import ComputationFailed

_LONGEST: Final = 240
_LONGEST_DETAIL: Final = 1000


class TeacherUnusable(ComputationFailed):
    """A teacher that cannot be loaded or run: `detail` says what is wrong with it and what to do."""


def reason_of(error: BaseException, folder: Path | None = None, *, doing: str = "loaded") -> str:
    """Why a teacher cannot be used, in a sentence for its owner.

    Parameters
    ----------
    error
        What was raised while the teacher was loaded or run.
    folder
        Its folder; taken out of the text, since it means nothing to the owner.
    doing
        "loaded" or "run".
    """
    if isinstance(error, TeacherUnusable):
        return error.detail if len(error.detail) <= _LONGEST_DETAIL else error.detail[: _LONGEST_DETAIL - 3] + "..."
    if _is_out_of_memory(error):
        return f"the model needs more memory than a worker may use when it is {doing}; register a smaller model"
    text = _first_line(str(error), folder)
    kind = type(error).__name__
    said = f"{kind}: {text}" if text else kind
    advice = (
        "check that the files were uploaded completely and save the model again"
        if doing == "loaded"
        else "check that the model accepts the input that its preprocessing describes"
    )
    return f"the model could not be {doing} ({said}); {advice}"


def is_panic(error: BaseException) -> bool:
    """Whether a library in Rust gave up (pyo3): its error is no `Exception`, and the process can go on."""
    return type(error).__module__ == "pyo3_runtime"


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        sign in text for sign in ("can't allocate memory", "out of memory", "bad_alloc", "failed to allocate memory")
    )


def _first_line(text: str, folder: Path | None) -> str:
    if folder is not None:
        text = text.replace(f"{folder}/", "").replace(str(folder), "the model")
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = re.sub(r"(?<![\w.])/(?:[\w.+@-]+/)+", "", line)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
