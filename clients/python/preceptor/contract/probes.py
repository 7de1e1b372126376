"""Probes: samples of the student's data."""

from typing import Literal

from pydantic import Field

from .base import Answer, Moment
from .ids import ProbeId

ProbeModality = Literal["image", "text", "features", "opaque"]
"""`opaque`: the items stay with their owner; only their number and labels are known."""
ProbeFormat = Literal["npz", "parquet", "zip", "jsonl", "csv"]


class ProbeColumns(Answer):
    """Which columns (of Parquet, CSV) or keys (of JSON lines) an upload's items and labels were read from."""

    content: str | None = None
    label: str | None = Field(default=None, description="Null where no column of labels was recognised")
    passed_over: list[str] = Field(default_factory=list[str], description="Columns that were not read, at most 64")


class Probe(Answer):
    """A stored sample of data, labelled or not. Equal content has an equal id."""

    id: ProbeId
    modality: ProbeModality
    items: int
    labelled: bool
    labels: list[str] | None = Field(default=None, description="Class names in label order, where the data names them")
    counts: list[int] | None = Field(default=None, description="Items a class, in label order")
    dimension: int | None = Field(default=None, description="Length of a feature vector")
    format: ProbeFormat = Field(description="The format of the first upload")
    size: int = Field(description="Bytes stored")
    columns: ProbeColumns | None = Field(
        default=None,
        description="Of a table, the columns that were read; in the answer to an upload, those of that one",
    )
    warnings: list[str] = Field(
        default_factory=list[str],
        description="What may be wrong with the data; in the answer to an upload, with that one",
    )
    created_at: Moment
