"""Compiled loops of the engine, and their bindings; optional, used automatically if they were built.

Only the solver and the bounds call ``entropic`` and ``zoo``.
"""

from worker.transport._fused.library import available, level

__all__ = ["available", "level"]
