"""CSV: a header line with `text` and, where labelled, `label`."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from service.state.errors import InvalidProbe
from service.state.settings import Settings

from .items import Item, Stream

_TEXT: Final = ("text", "sentence")
_LABEL: Final = ("label", "class", "intent")


def read(source: Path, settings: Settings) -> Stream:
    """Open a CSV file. See `service.ingest.items.Reader`."""
    rows = _rows(source, settings)
    _, header = next(rows, (0, []))
    names = [name.strip().lower() for name in header]
    text = next((names.index(name) for name in _TEXT if name in names), None)
    if text is None:
        raise InvalidProbe(f"the first line must name the columns, one of them `text`; it has {header[:10]}")
    label = next((names.index(name) for name in _LABEL if name in names), None)
    return Stream("text", label is not None, _items(rows, text, label, len(names)))


def _rows(source: Path, settings: Settings) -> Iterator[tuple[int, list[str]]]:
    with source.open("rb") as probe:
        if probe.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise InvalidProbe("the file is UTF-16; save it as UTF-8")
    limit = csv.field_size_limit(settings.max_text_length * 4 + 1024)
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise InvalidProbe(f"the file is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise InvalidProbe(f"the file is not readable CSV: {error}") from error
    finally:
        csv.field_size_limit(limit)


def _items(rows: Iterator[tuple[int, list[str]]], text: int, label: int | None, width: int) -> Iterator[Item]:
    for number, row in rows:
        if len(row) != width:
            raise InvalidProbe(f"line {number} has {len(row)} columns and the header {width}; quote texts with commas")
        given = row[label].strip() if label is not None else None
        if given == "":
            given = None
        yield Item(
            row[text],
            int(given) if given is not None and given.isascii() and given.isdigit() else given,
            f"line {number}",
        )
