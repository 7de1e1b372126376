"""Inputs that once broke an invariant: small folders of files that are replayed with every run of the tests."""

import hashlib
from pathlib import Path
from typing import Final

from .case import Files

FOLDER: Final = Path(__file__).parent / "corpus"
_LARGEST: Final = 64 * 2**10

OPEN: Final[set[tuple[str, str]]] = set()
"""Faults that are known and not mended yet, by parser and name: who mends one takes it out of here."""


def place(parser: str) -> Path:
    """Where the inputs of a parser lie."""
    return FOLDER / parser.replace(" ", "-")


def names(parser: str) -> list[str]:
    """The names of the inputs that are kept for a parser, in the order of `kept`."""
    return sorted(path.name for path in place(parser).glob("*") if path.is_dir())


def kept(parser: str) -> list[Files]:
    """The inputs that are kept for a parser."""
    folders = [place(parser) / name for name in names(parser)]
    return [{path.name: path.read_bytes() for path in sorted(folder.iterdir())} for folder in folders]


def keep(parser: str, outcome: str, files: Files) -> Path | None:
    """Write an input down; None where it is too large for a repository."""
    if sum(map(len, files.values())) > _LARGEST:
        return None
    digest = hashlib.sha256(b"".join(name.encode() + b"\0" + files[name] for name in sorted(files))).hexdigest()
    folder = place(parser) / f"{outcome}-{digest[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
