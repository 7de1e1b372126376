"""Turns an uploaded file into a probe: reads a format, checks every item, writes the canonical file.

Called by ``service.actions`` alone, in a process of its own (`apart`). Memory is bounded whatever the upload's size.
"""

from .probe import IngestedProbe, ingest

__all__ = ["IngestedProbe", "ingest"]
