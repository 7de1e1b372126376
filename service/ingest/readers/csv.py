"""CSV: a header line with `text` and, where labelled, `label`."""

import csv
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.core.errors import InvalidProbe, TooLarge
from service.core.settings import Settings

from ..columns import LABEL_COLUMNS, TEXT_COLUMNS, ChosenColumns, chosen
from ..items import Item, RawLabel, Stream, shown
from .text_encoding import Lines, looks_like, opened_lines

# This limit belongs to the whole process, so it cannot follow one upload's settings. `_Lines` bounds each row instead.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class _Table:
    """How a file is read.

    Attributes
    ----------
    text, label
        Positions of the columns; the label's is None where the file has none.
    width
        Columns of every row.
    spaced
        The file has a space after each comma, so a quote may follow it.
    """

    text: int
    label: int | None
    width: int
    spaced: bool


def read(source: Path, settings: Settings) -> Stream:
    """Open a CSV file. See `service.ingest.items.Reader`."""
    with opened_lines(source) as (_, encoding):
        pass
    rows = _rows(source, settings, spaced=False)
    _, header = next(rows, (0, []))
    rows.close()
    text = chosen(header, TEXT_COLUMNS)
    if text is None:
        raise InvalidProbe(
            f"the first line must name the columns, one of them `text`, separated by commas; it has {shown(header)}"
        )
    label = chosen(header, LABEL_COLUMNS)
    table = _Table(text, label, len(header), spaced=any(name[:1] == " " for name in header[1:]))
    names = [name.strip().strip('"') for name in header]
    columns = ChosenColumns(names[text], None if label is None else names[label])
    columns.pass_over(name or "(no name)" for place, name in enumerate(names) if place not in (text, label))

    def labels() -> Iterator[tuple[RawLabel, str]]:
        for item in _items(source, settings, table):
            yield item.label, item.where

    return Stream(
        "text",
        _items(source, settings, table),
        labels=labels if label is not None else None,
        untyped=True,
        columns=columns,
        encoding=encoding,
    )


class _Lines:
    """The lines of the file. Those of one row together are no longer than a row can be: csv alone would read any."""

    def __init__(self, file: Lines, settings: Settings) -> None:
        self._file = file
        self._most_text = settings.max_text_length
        self._longest = settings.max_text_length * 8 + 2**16  # a quote is doubled, a character has up to 4 bytes
        self._left = self._longest
        self._number = 0
        self.begin = 1

    def start_row(self) -> None:
        """What comes next is a new row."""
        self.begin = self._number + 1
        self._left = self._longest

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._file.readline(self._left + 1)
        if not line:
            raise StopIteration
        self._number += 1
        if len(line) > self._left:
            raise TooLarge(
                f"the row at line {self.begin} is longer than a text of {self._most_text:,} characters can be; is a "
                "quote not closed?"
            )
        self._left -= len(line)
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidProbe(
                f"line {self._number} is not UTF-8 (byte {error.start} of the line); {looks_like(error)}. Save the "
                "file as UTF-8"
            ) from error


def _rows(source: Path, settings: Settings, *, spaced: bool) -> Generator[tuple[int, list[str]], None, None]:
    with opened_lines(source) as (file, _):
        lines = _Lines(file, settings)
        try:
            for row in csv.reader(lines, strict=True, skipinitialspace=spaced):
                if row:
                    yield lines.begin, row
                lines.start_row()
        except csv.Error as error:
            raise InvalidProbe(f"the row at line {lines.begin} is not readable CSV: {error}") from error


def _items(source: Path, settings: Settings, table: _Table) -> Iterator[Item]:
    rows = _rows(source, settings, spaced=table.spaced)
    next(rows)
    for number, row in rows:
        if len(row) != table.width:
            raise InvalidProbe(
                f"line {number} has {len(row)} columns and the header {table.width}; quote texts that hold commas or "
                "line ends"
            )
        given = row[table.label].strip() if table.label is not None else ""
        if len(given) > 1 and given[0] == given[-1] == '"':
            raise InvalidProbe(
                f"line {number}: the label {shown(given)} is in quotes that are part of it. Remove the space before "
                "the quote, there and in the other lines"
            )
        yield Item(row[table.text], given or None, f"line {number}")
