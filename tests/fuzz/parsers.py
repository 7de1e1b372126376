"""All parsers by name. A module that needs a model library is imported where one of its parsers is wanted."""

import importlib
from typing import Final, NamedTuple

from .case import Parser


class Entry(NamedTuple):
    """Where a parser stands, its share of the time, and whether the product runs it in a process that may die."""

    module: str
    weight: float = 1.0
    contained: bool = False


ENTRIES: Final = {
    "probe npz": Entry("probe_parsers"),
    "probe parquet": Entry("probe_parsers", 1.5),
    "probe zip": Entry("probe_parsers"),
    "probe jsonl": Entry("probe_parsers", 0.5),
    "probe csv": Entry("probe_parsers", 0.5),
    "picture": Entry("probe_parsers"),
    "predictions": Entry("probe_parsers", 0.5),
    "strict json": Entry("probe_parsers", 0.5),
    "pictures.decode": Entry("store_parsers"),
    "read_predictions": Entry("store_parsers", 0.5),
    "teacher outputs": Entry("store_parsers", 0.5),
    "stored probe": Entry("store_parsers"),
    "label index": Entry("store_parsers"),
    "token": Entry("outside_parsers"),
    "issuer keys": Entry("outside_parsers", 0.5),
    "grants": Entry("outside_parsers", 0.2),
    "event stream": Entry("outside_parsers", 0.5),
    "webhook address": Entry("outside_parsers", 0.5),
    "http json": Entry("http_parsers", 1.5),
    "http uploads": Entry("http_parsers", 1.5),
    "http requests": Entry("http_parsers", 1.5),
    "http keys": Entry("key_parsers", 1.5),
    "idempotency record": Entry("key_parsers", 0.5),
    "onnx graph": Entry("onnx_parsers", contained=True),
    "onnx run": Entry("onnx_parsers", 3.0, contained=True),
    "safetensors": Entry("teacher_parsers", 0.5),
    "config.json": Entry("teacher_parsers", 0.5),
    "timm config": Entry("folder_parsers", 0.5),
    "hub listing": Entry("folder_parsers", 0.5),
    "sharded index": Entry("folder_parsers", 0.5),
    "checkpoint": Entry("folder_parsers", 0.5),
    "tokenizer": Entry("teacher_parsers", 1.5, contained=True),
    "transformers": Entry("teacher_parsers", 2.0, contained=True),
    "torch.export": Entry("teacher_parsers", 2.0, contained=True),
}


def parser_named(name: str, module: str | None = None) -> Parser:
    """The parser of that name; from another module of this package where one is given."""
    found = importlib.import_module(f".{module or ENTRIES[name].module}", __package__)
    return next(parser for parser in found.PARSERS if parser.name == name)
