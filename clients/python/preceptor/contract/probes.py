"""Probes: samples of the student's data."""

from typing import Literal

from pydantic import Field

from .base import Answer, Moment
from .ids import ProbeId

ProbeModality = Literal["image", "text", "features", "opaque"]
"""`opaque`: the items stay with their owner; only their number and labels are known."""
ProbeFormat = Literal["npz", "parquet", "zip", "jsonl", "csv"]


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
    created_at: Moment
