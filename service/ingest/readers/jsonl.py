"""JSON lines: `{"text": ..., "label": ...}`, one item a line."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.core.errors import InvalidProbe, TooLarge
from service.core.settings import Settings

from ..items import LABEL_COLUMNS, TEXT_COLUMNS, Item, RawLabel, Stream, shown


def read(source: Path, settings: Settings) -> Stream:
    """Open a JSON-lines file. See `service.ingest.items.Reader`."""

    def labels() -> Iterator[tuple[RawLabel, str]]:
        for item in _items(source, settings):
            yield item.label, item.where

    return Stream("text", _items(source, settings), labels=labels)


def _objects(source: Path, settings: Settings) -> Iterator[tuple[int, dict[str, Any]]]:
    longest = settings.max_text_length * 12 + 4096  # a character may be written as 12 bytes
    with source.open("rb") as file:
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest:
                raise TooLarge(f"line {number} is longer than a text of {settings.max_text_length:,} characters can be")
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise InvalidProbe(f"line {number} is not UTF-8; save the file as UTF-8") from error
            except (ValueError, RecursionError) as error:
                raise InvalidProbe(f"line {number} is not one JSON object: {error}") from error
            if not isinstance(value, dict):
                raise InvalidProbe(f'line {number} must be an object: {{"text": ..., "label": ...}}')
            yield number, value


def _items(source: Path, settings: Settings) -> Iterator[Item]:
    for number, value in _objects(source, settings):
        text = next((value[name] for name in TEXT_COLUMNS if name in value), None)
        if not isinstance(text, str):
            raise InvalidProbe(
                f'line {number} must have a string "text": {{"text": ..., "label": ...}}; it has {shown(list(value))}'
            )
        label: RawLabel = next((value[name] for name in LABEL_COLUMNS if name in value), None)
        if label is not None and (isinstance(label, bool) or not isinstance(label, int | str)):
            raise InvalidProbe(f"line {number}: the label must be a class name or a class number, not {shown(label)}")
        yield Item(text, label, f"line {number}")
