"""How a student is trained."""

from typing import Annotated, Literal

from pydantic import Field

from .base import Body, Number, Whole
from .versions import Since


class EarlyStopping(Body):
    """Stop when left-out items get no likelier, and deliver the weights with which they were likeliest.

    Attributes
    ----------
    patience
        Epochs without a better one.
    held_out
        Share of the labelled items, of every class, that is not trained on but watched.
    """

    patience: Whole = Field(default=5, ge=1, le=1000)
    held_out: Number = Field(default=0.2, gt=0, le=0.5)


class Training(Body):
    """How the student is trained.

    Attributes
    ----------
    batch_size
        Labelled items a step, and as many transfer items.
    gradient_accumulation
        In how many parts, at most, a batch goes through the model, where it does not fit at once. Layers that look at
        the whole batch (batch norm) see a part.
    schedule
        `one_cycle`: the learning rate rises over the first tenth and falls as a cosine; `cosine`: falls at once;
        `constant`.
    ema
        Decay a step of a running mean of the weights, which is delivered in their place.
    early_stopping
        Whether to stop before the last epoch; not where it is absent.
    class_weights
        `balanced`: rare classes weigh more in the cross-entropy, so that every class weighs the same.
    augmentation
        `auto`: pictures shift, tokens are hidden; `mirror`: pictures are mirrored as well, for things that look the
        same from both sides; `none`.
    precision
        `auto`: bf16 for large students on an accelerator that has it, else fp32.
    time_limit_seconds
        The whole job trains with fewer steps where it would take longer.
    """

    epochs: Whole = Field(default=20, ge=1, le=10_000)
    batch_size: Whole = Field(default=64, ge=1, le=65_536)
    gradient_accumulation: Annotated[Whole, Since(2)] = Field(default=1, ge=1, le=1024)
    learning_rate: Annotated[Number, Field(gt=0, le=10)] | None = Field(
        default=None, description="The student's own default where absent"
    )
    schedule: Annotated[Literal["one_cycle", "cosine", "constant"], Since(2)] = "one_cycle"
    weight_decay: Number = Field(default=0.01, ge=0, le=1)
    ema: Annotated[Annotated[Number, Field(gt=0, lt=1)] | None, Since(2)] = None
    early_stopping: Annotated[EarlyStopping | None, Since(2)] = None
    class_weights: Annotated[Literal["none", "balanced"], Since(2)] = "none"
    augmentation: Annotated[Literal["auto", "mirror", "none"], Since(2)] = "auto"
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Since(2)] = "auto"
    seed: Whole = Field(default=0, ge=0, le=2**31 - 1)
    seeds: Whole = Field(default=1, ge=1, le=20, description="Repetitions with consecutive seeds, for the interval")
    time_limit_seconds: Number | None = Field(default=None, gt=0)
