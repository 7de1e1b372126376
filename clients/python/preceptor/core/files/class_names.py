"""Class names, and files that list them."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from pydantic import TypeAdapter, ValidationError

from ...contract.labels import Label
from ...contract.validation_messages import said
from ...errors import LabelFileError, invalid
from .text_files import TextFile

_LABEL: Final[TypeAdapter[str]] = TypeAdapter(Label)
_HEADINGS: Final = frozenset({"label", "labels", "name", "names", "class", "classes", "class_name", "label_name"})
_TABLES: Final = (".csv", ".tsv")
_OUTER: Final = ("id2label", "label2id", "labels", "names", "classes")
_PLACEHOLDER: Final = re.compile(r"LABEL_\d+")


def fault(name: Any) -> str | None:
    """Why a text cannot be a class name: empty, without a visible character, too long, ...; None if it can."""
    try:
        _LABEL.validate_python(name)
    except ValidationError as error:
        return said(cast("Mapping[str, Any]", error.errors(include_url=False)[0]))
    return None


def require_names(names: Sequence[Any], pointer: str) -> None:
    """Refuse what cannot be a class name, where no body of the contract does.

    Raises
    ------
    InvalidRequestError
    """
    for position, name in enumerate(names):
        if why := fault(name):
            raise invalid(f"class name {position}: {why}", {f"{pointer}/{position}": why})


@dataclass(frozen=True)
class LabelFile:
    """Class names in label order, read from a file.

    Attributes
    ----------
    encoding, format
        What was found, as a person names it.
    notes
        What was assumed and should be checked.
    """

    labels: list[str]
    encoding: str
    format: str
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> "LabelFile":
        """Read class names.

        Understood are: one name a line; a JSON array of names; a JSON object of number to name, or of name to number
        (`id2label.json`); an object that holds one of these under `id2label`, `label2id`, `labels`, `names` or
        `classes` (`config.json` of a `transformers` model); a `.csv` or `.tsv` file with one column of names, or with
        a column of numbers from 0 beside it.

        Raises
        ------
        LabelFileError
            The file lists no class names; says why.
        OSError
        """
        found = TextFile.read(Path(path))
        text = found.text
        if text.lstrip()[:1] in ("[", "{"):
            labels, format = _json(found)
        elif found.path.suffix.lower() in _TABLES:
            labels, format = _table(found)
        elif found.path.suffix.lower() in (".yaml", ".yml"):
            raise LabelFileError(f"{path} is a YAML file. Give one name a line, a JSON array or a CSV column")
        else:
            labels, format = [line.strip() for line in text.splitlines() if line.strip()], "one name a line"
        for position, label in enumerate(labels):
            if why := fault(label):
                raise LabelFileError(f"{path}: class name {position}: {why}")
        notes = [found.remark] if found.remark else []
        if labels and all(_PLACEHOLDER.fullmatch(label) for label in labels):
            notes.append(f"{path} holds placeholders (LABEL_0, ...); rankings by names need the real names")
        return cls(labels, found.encoding, format, tuple(notes))


def _json(file: TextFile) -> tuple[list[str], str]:
    try:
        value = json.loads(file.text, object_pairs_hook=_distinct)
    except _Repeated as error:
        raise LabelFileError(f"{file.path}: the key {error.key!r} occurs twice. Give each class once") from error
    except (ValueError, RecursionError) as error:
        raise LabelFileError(
            f"{file.path} begins like JSON but is not: {error}. Correct it, or give one name a line"
        ) from error
    where = ""
    if isinstance(value, Mapping):
        for key in _OUTER:
            if isinstance(value.get(key), list | dict):
                value, where = value[key], f", {key}"
                break
    if isinstance(value, list):
        return _strings(file, value), f"a JSON array{where}"
    if not value:
        raise LabelFileError(f"{file.path}: the JSON object is empty; there are no class names")
    return _numbered(file, value), f"a JSON object of numbers and names{where}"


def _strings(file: TextFile, value: list[Any]) -> list[str]:
    for position, entry in enumerate(value):
        if not isinstance(entry, str):
            raise LabelFileError(
                f"{file.path} must hold an array of strings; entry {position} is {json.dumps(entry)[:60]}"
            )
    return [entry.strip() for entry in value]


def _numbered(file: TextFile, value: Mapping[str, Any]) -> list[str]:
    """The names of an object of number to name, or of name to number, by rising number."""
    if all(isinstance(name, str) for name in value.values()) and all(key.strip().isdecimal() for key in value):
        pairs = [(int(key), str(name)) for key, name in value.items()]
    elif all(isinstance(number, int) and not isinstance(number, bool) for number in value.values()):
        pairs = [(number, key) for key, number in value.items()]
    else:
        key, entry = next(iter(value.items()))
        raise LabelFileError(
            f'{file.path} must hold an array of names, or an object such as {{"0": "cat", "1": "dog"}}; it begins with '
            f"{json.dumps(key, ensure_ascii=False)[:60]}: {json.dumps(entry, ensure_ascii=False)[:60]}"
        )
    return _in_order(file, pairs)


def _in_order(file: TextFile, pairs: list[tuple[int, str]]) -> list[str]:
    pairs = sorted(pairs)
    numbers = [number for number, _ in pairs]
    if numbers != list(range(len(pairs))):
        wrong = next(number for place, number in enumerate(numbers) if number != place)
        raise LabelFileError(
            f"{file.path} has {len(pairs)} names; expected the numbers 0 to {len(pairs) - 1}, each once, found {wrong}"
        )
    return [name.strip() for _, name in pairs]


def _table(file: TextFile) -> tuple[list[str], str]:
    head = file.text.lstrip().partition("\n")[0]
    delimiter = max("\t,;" if file.path.suffix.lower() == ".tsv" else ",;\t", key=head.count)
    try:
        read = csv.reader(io.StringIO(file.text.lstrip("\ufeff")), delimiter=delimiter, strict=True)
        rows = [[cell.strip() for cell in row] for row in read if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise LabelFileError(f"{file.path} is not CSV: {error}. Give one name a line in a .txt file") from error
    widths = {len(row) for row in rows}
    if widths <= {1}:
        names = [row[0] for row in rows]
        headed = bool(names) and names[0].casefold().replace(" ", "_") in _HEADINGS
        return names[1:] if headed else names, "one CSV column" + (f" below {names[0]!r}" if headed else "")
    if widths == {2}:
        for order in ((0, 1), (1, 0)):
            pairs = [(row[order[0]], row[order[1]]) for row in rows]
            if not pairs[0][0].isdecimal():
                pairs = pairs[1:]
            if pairs and all(number.isdecimal() for number, _ in pairs):
                return _in_order(file, [(int(number), name) for number, name in pairs]), "CSV, numbers and names"
    found = f"rows of {' and '.join(map(str, sorted(widths)))} cells"
    raise LabelFileError(
        f"{file.path}: expected one column of names, or numbers from 0 and names; found {found}. Quote names that "
        "contain the delimiter"
    )


class _Repeated(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Repeated(key)
        found[key] = value
    return found
