"""CSV: a header line with `text` and, where labelled, `label`."""

import codecs
import csv
from collections.abc import Generator, Iterator
from pathlib import Path

from service.state.errors import InvalidProbe, TooLarge
from service.state.settings import Settings

from .items import LABEL_COLUMNS, TEXT_COLUMNS, Item, RawLabel, Stream, shown

_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(source: Path, settings: Settings) -> Stream:
    """Open a CSV file. See `service.ingest.items.Reader`."""
    rows = _rows(source, settings)
    _, header = next(rows, (0, []))
    names = [name.strip().lower() for name in header]
    text = next((names.index(name) for name in TEXT_COLUMNS if name in names), None)
    if text is None:
        raise InvalidProbe(
            f"the first line must name the columns, one of them `text`, separated by commas; it has {shown(header)}"
        )
    label = next((names.index(name) for name in LABEL_COLUMNS if name in names), None)
    rows.close()

    def labels() -> Iterator[tuple[RawLabel, str]]:
        for item in _items(source, settings, text, label, len(names)):
            yield item.label, item.where

    return Stream(
        "text",
        _items(source, settings, text, label, len(names)),
        labels=labels if label is not None else None,
        untyped=True,
    )


def _lines(source: Path, settings: Settings) -> Iterator[str]:
    """The lines of the file, none longer than a row can be: the csv module alone would read any."""
    longest = settings.max_text_length * 8 + 2**16  # a quote is doubled, a character has up to 4 bytes
    with source.open("rb") as file:
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if number == 1:
                if line.startswith(_OTHER_ENCODINGS) or b"\x00" in line[:4]:
                    raise InvalidProbe("the file is UTF-16 or UTF-32; save it as UTF-8")
                line = line.removeprefix(codecs.BOM_UTF8)
            if len(line) > longest:
                raise TooLarge(f"line {number} is longer than a text of {settings.max_text_length:,} characters can be")
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidProbe(
                    f"line {number} is not UTF-8 (byte {error.start} of the line); save the file as UTF-8"
                ) from error


def _rows(source: Path, settings: Settings) -> Generator[tuple[int, list[str]], None, None]:
    # The field limit belongs to the process, so it is only ever raised: other uploads are read at the same time.
    csv.field_size_limit(max(csv.field_size_limit(), settings.max_text_length + 2**16))
    reader = csv.reader(_lines(source, settings), strict=True)
    begin = 1
    try:
        for row in reader:
            if row:
                yield begin, row
            begin = reader.line_num + 1
    except csv.Error as error:
        if "field larger" in str(error):
            raise TooLarge(
                f"the row at line {begin} has a field longer than {settings.max_text_length:,} characters; is a quote "
                "not closed?"
            ) from error
        raise InvalidProbe(f"the row at line {begin} is not readable CSV: {error}") from error


def _items(source: Path, settings: Settings, text: int, label: int | None, width: int) -> Iterator[Item]:
    rows = _rows(source, settings)
    next(rows)
    for number, row in rows:
        if len(row) != width:
            raise InvalidProbe(
                f"line {number} has {len(row)} columns and the header {width}; quote texts that hold commas or line "
                "ends"
            )
        given = row[label].strip() if label is not None else ""
        yield Item(row[text], given or None, f"line {number}")
