"""Training of a student."""

from typing import Annotated, Literal

from pydantic import Field

from .base import Body, Number, Whole
from .versions import Since


class EarlyStopping(Body):
    """Stop when the likelihood of held-out items no longer improves, and deliver the weights with the best one.

    Attributes
    ----------
    patience
        Epochs without improvement before training stops.
    held_out
        Share of the labelled items of every class that is held out for monitoring.
    """

    patience: Whole = Field(default=5, ge=1, le=1000)
    held_out: Number = Field(default=0.2, gt=0, le=0.5)


class Training(Body):
    """Settings of the training.

    Attributes
    ----------
    batch_size
        Labelled items a step, and the same number of transfer items.
    gradient_accumulation
        Maximum number of parts into which a batch is split, if it does not fit into memory. Layers with batch
        statistics (batch norm) see one part.
    schedule
        `one_cycle`: the learning rate rises over the first tenth of the steps, then follows a cosine; `cosine`: it
        follows a cosine from the start; `constant`.
    ema
        Decay per step of an exponential moving average of the weights; the average is delivered.
    early_stopping
        Stop before the last epoch; off by default.
    class_weights
        `balanced`: the cross-entropy weights classes inversely to their frequency.
    augmentation
        `auto`: images are shifted, tokens are masked; `mirror`: images are also mirrored, for classes that do not
        depend on left and right; `none`.
    precision
        `auto`: bf16 for large students on an accelerator that supports it, else fp32.
    time_limit_seconds
        Time limit of the whole job in seconds; it trains with fewer steps if it would take longer.
    """

    epochs: Whole = Field(default=20, ge=1, le=10_000)
    batch_size: Whole = Field(default=64, ge=1, le=65_536)
    gradient_accumulation: Annotated[Whole, Since(2)] = Field(default=1, ge=1, le=1024)
    learning_rate: Annotated[Number, Field(gt=0, le=10)] | None = Field(
        default=None, description="By default, that of the student's architecture"
    )
    schedule: Annotated[Literal["one_cycle", "cosine", "constant"], Since(2)] = "one_cycle"
    weight_decay: Number = Field(default=0.01, ge=0, le=1)
    ema: Annotated[Annotated[Number, Field(gt=0, lt=1)] | None, Since(2)] = None
    early_stopping: Annotated[EarlyStopping | None, Since(2)] = None
    class_weights: Annotated[Literal["none", "balanced"], Since(2)] = "none"
    augmentation: Annotated[Literal["auto", "mirror", "none"], Since(2)] = "auto"
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Since(2)] = "auto"
    seed: Whole = Field(default=0, ge=0, le=2**31 - 1)
    seeds: Whole = Field(
        default=1, ge=1, le=20, description="Runs with consecutive seeds, for the interval of the gain"
    )
    time_limit_seconds: Number | None = Field(default=None, gt=0)
