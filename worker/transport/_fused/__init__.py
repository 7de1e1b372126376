"""Compiled loops of the engine, and their bindings; optional, chosen automatically where they were built.

``entropic`` and ``zoo`` are called by the solver and the bounds alone; nothing here knows what a problem is.
"""

from worker.transport._fused.library import available, level

__all__ = ["available", "level"]
