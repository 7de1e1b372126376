"""Probes: samples of the student's data."""

from typing import Literal

from pydantic import Field

from .base import Answer, Moment
from .ids import ProbeId

ProbeModality = Literal["image", "text", "features", "opaque"]
"""`opaque`: the items stay with their owner; the service stores their number and labels only."""
ProbeFormat = Literal["npz", "parquet", "zip", "jsonl", "csv"]


class ProbeColumns(Answer):
    """Which columns (of Parquet, CSV) or keys (of JSON lines) an upload's items and labels were read from."""

    content: str | None = None
    label: str | None = Field(default=None, description="Null where no column of labels was recognised")
    passed_over: list[str] = Field(default_factory=list[str], description="Columns that were not read, at most 64")


class Probe(Answer):
    """A stored data sample, labelled or unlabelled. Equal content has the same id."""

    id: ProbeId
    modality: ProbeModality
    items: int
    labelled: bool
    labels: list[str] | None = Field(default=None, description="Class names in label order, if the data names them")
    counts: list[int] | None = Field(default=None, description="Number of items of each class, in label order")
    dimension: int | None = Field(default=None, description="Length of a feature vector")
    format: ProbeFormat = Field(description="Format of the first upload")
    size: int = Field(description="Stored bytes")
    columns: ProbeColumns | None = Field(
        default=None,
        description="Of a table, the columns that were read; in the answer to an upload, those of that one",
    )
    encoding: str | None = Field(
        default=None, description="Of CSV and JSON lines: UTF-8 or UTF-16; in the answer to an upload, of that one"
    )
    warnings: list[str] = Field(
        default_factory=list[str],
        description="What may be wrong with the data; in the answer to an upload, with that one",
    )
    created_at: Moment


class ProbeExample(Answer):
    """One item of a probe, in words."""

    position: int = Field(description="Of the item in the probe, from 0")
    label: str | None = Field(default=None, description="Its class name, or number where the classes have no names")
    item: str = Field(description="The text, cut; the size and format of a picture; the first values of a vector")


class ProbeCheck(Probe):
    """What an upload would become. Nothing was stored."""

    stored: bool = Field(description="Whether a probe of the same content is stored already")
    examples: list[ProbeExample] = Field(
        default_factory=list[ProbeExample],
        description="The first item of each of the first five classes, or the first five items of an unlabelled probe",
    )
