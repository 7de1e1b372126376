"""Probes: samples of the student's data."""

from typing import Literal

from pydantic import Field

from .base import Answer, Moment
from .ids import ProbeId

ProbeModality = Literal["image", "text", "features", "opaque"]
"""`opaque`: the items stay with their owner; the service stores their number and labels only."""
ProbeFormat = Literal["npz", "parquet", "zip", "jsonl", "csv"]


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
    created_at: Moment
