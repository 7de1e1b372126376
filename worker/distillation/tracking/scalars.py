"""All numbers of an epoch; a new field of `EpochMetrics` is tracked without a change here."""

import math
from typing import Any

from preceptor.contract.distillations import EpochMetrics


def scalars_of(metrics: EpochMetrics) -> dict[str, float]:
    """Every number of an epoch but `epoch`, by field; numbers that were not measured are omitted."""
    values: dict[str, Any] = metrics.model_dump(exclude={"epoch"})
    return {name: float(value) for name, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
