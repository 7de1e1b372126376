"""JSON lines: `{"text": ..., "label": ...}`, one item a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.core.errors import InvalidProbe, TooLarge
from service.core.settings import Settings

from ..columns import LABEL_COLUMNS, TEXT_COLUMNS, ChosenColumns, chosen
from ..items import Item, RawLabel, Stream, shown
from .text_encoding import looks_like, opened_lines


def read(source: Path, settings: Settings) -> Stream:
    """Open a JSON-lines file. See `service.ingest.items.Reader`."""
    columns = ChosenColumns()
    with opened_lines(source) as (_, encoding):
        pass

    def labels() -> Iterator[tuple[RawLabel, str]]:
        for item in _items(source, settings, columns):
            yield item.label, item.where

    return Stream("text", _items(source, settings, ChosenColumns()), labels=labels, columns=columns, encoding=encoding)


def _objects(source: Path, settings: Settings) -> Iterator[tuple[int, dict[str, Any]]]:
    longest = settings.max_text_length * 12 + 4096  # a character may be written as 12 bytes
    with opened_lines(source) as (file, _):
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest:
                raise TooLarge(f"line {number} is longer than a text of {settings.max_text_length:,} characters can be")
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise InvalidProbe(
                    f"line {number} is not UTF-8 (byte {error.start} of the line); {looks_like(error)}. Save the "
                    "file as UTF-8"
                ) from error
            except (ValueError, RecursionError) as error:
                raise InvalidProbe(f"line {number} is not one JSON object: {error}") from error
            if not isinstance(value, dict):
                raise InvalidProbe(f'line {number} must be an object: {{"text": ..., "label": ...}}')
            yield number, value


def _items(source: Path, settings: Settings, columns: ChosenColumns) -> Iterator[Item]:
    keys: tuple[str, ...] = ()
    text = label = None
    for number, value in _objects(source, settings):
        if tuple(value) != keys:  # most lines have the keys of the line before
            keys = tuple(value)
            places = chosen(keys, TEXT_COLUMNS), chosen(keys, LABEL_COLUMNS)
            text, label = (None if place is None else keys[place] for place in places)
            if label is not None and label != (columns.label or label):
                raise InvalidProbe(
                    f"line {number} has its label under {shown(label)}, and lines before it under "
                    f"{shown(columns.label)}. Use one name, `label`, in all lines"
                )
            columns.content, columns.label = columns.content or text, columns.label or label
            columns.pass_over(key for key in keys if key not in (text, label))
        content = None if text is None else value[text]
        if not isinstance(content, str):
            raise InvalidProbe(
                f'line {number} must have a string "text": {{"text": ..., "label": ...}}; it has {shown(list(value))}'
            )
        given: RawLabel = None if label is None else value[label]
        if given is not None and (isinstance(given, bool) or not isinstance(given, int | float | str)):
            raise InvalidProbe(f"line {number}: the label must be a class name or a class number, not {shown(given)}")
        yield Item(content, given, f"line {number}")
