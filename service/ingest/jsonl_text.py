"""JSON lines: `{"text": ..., "label": ...}`, one item a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.state.errors import InvalidProbe, TooLarge
from service.state.settings import Settings

from .items import Item, RawLabel, Stream


def read(source: Path, settings: Settings) -> Stream:
    """Open a JSON-lines file. See `service.ingest.items.Reader`."""
    first = next(_objects(source, settings), None)
    if first is None:
        raise InvalidProbe("the file has no line with an item")
    labelled = first[1].get("label") is not None
    return Stream("text", labelled, _items(source, settings))


def _objects(source: Path, settings: Settings) -> Iterator[tuple[int, dict[str, Any]]]:
    longest = settings.max_text_length * 12 + 4096  # a character may be written as 12 bytes
    with source.open("rb") as file:
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest:
                raise TooLarge(f"line {number} is longer than a text of {settings.max_text_length:,} characters can be")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise InvalidProbe(f"line {number} is not UTF-8; save the file as UTF-8") from error
            except (ValueError, RecursionError) as error:
                raise InvalidProbe(f"line {number} is not JSON: {error}") from error
            if not isinstance(value, dict) or not isinstance(value.get("text"), str):
                raise InvalidProbe(
                    f'line {number} must be an object with a string "text": {{"text": ..., "label": ...}}'
                )
            yield number, value


def _items(source: Path, settings: Settings) -> Iterator[Item]:
    for number, value in _objects(source, settings):
        label: RawLabel = value.get("label")
        if label is not None and (isinstance(label, bool) or not isinstance(label, int | str)):
            raise InvalidProbe(f"line {number}: label must be a class name or number, not {type(label).__name__}")
        yield Item(value["text"], label, f"line {number}")
