"""What a teacher's outputs depend on, as one hash: equal digests give equal outputs, whatever its name."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from preceptor.contract.teachers import Source

REVISION: Final = 2
"""Raise this when preparing inputs or reading outputs changes what a teacher answers."""
_CHUNK: Final = 2**20


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file directly in a teacher's folder, by name. Hidden files are not part of a teacher."""
    return {
        path.name: _sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def teacher_digest(source: Source, files: Mapping[str, str]) -> str:
    """The digest of a teacher: its files and how it is run.

    Parameters
    ----------
    source
        Kind, preprocessing, kind of output.
    files
        SHA-256 in hexadecimal by file name: from `file_digests`, or as recorded at upload.

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256(f"preceptor-teacher-{REVISION}\n{source.model_dump_json()}\n".encode())
    for name in sorted(files):
        digest.update(f"{name} {files[name]}\n".encode())
    return digest.hexdigest()
