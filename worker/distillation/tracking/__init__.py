"""Tells others how a distillation went, in their own formats: TensorBoard event files, MLflow runs.

Nothing here changes what is trained; a tracker that fails costs a warning.
"""

from .scalars import scalars_of

__all__ = ["scalars_of"]
