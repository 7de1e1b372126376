"""Exports the metrics of a distillation: TensorBoard event files, MLflow runs.

Tracking does not affect training; a tracker that fails logs a warning.
"""

from .scalars import scalars_of

__all__ = ["scalars_of"]
