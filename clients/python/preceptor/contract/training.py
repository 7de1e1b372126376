"""How a student is trained."""

from typing import Annotated

from pydantic import Field

from .base import Body, Number, Whole


class Training(Body):
    """How the student is trained."""

    epochs: Whole = Field(default=20, ge=1, le=10_000)
    batch_size: Whole = Field(default=64, ge=1, le=65_536)
    learning_rate: Annotated[Number, Field(gt=0, le=10)] | None = Field(
        default=None, description="The student's own default where absent"
    )
    weight_decay: Number = Field(default=0.01, ge=0, le=1)
    seed: Whole = Field(default=0, ge=0, le=2**31 - 1)
    seeds: Whole = Field(default=1, ge=1, le=20, description="Repetitions with consecutive seeds, for the interval")
    time_limit_seconds: Number | None = Field(default=None, gt=0)
