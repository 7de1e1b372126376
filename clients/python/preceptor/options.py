"""Dictionaries that stand for models of the contract, and those of job events, for type checkers.

`training={"epoch": 3}` is then an error in the editor, not only in the answer of the service.
"""

from typing import Literal, TypedDict

from .contract.losses import (
    FeaturesLossOptions as FeaturesLossOptions,
    LossOptions as LossOptions,
    MappedKlLossOptions as MappedKlLossOptions,
    NoLossOptions as NoLossOptions,
    RelationalLossOptions as RelationalLossOptions,
    RidgeMapLossOptions as RidgeMapLossOptions,
    TransportLossOptions as TransportLossOptions,
    UldLossOptions as UldLossOptions,
    WkdLossOptions as WkdLossOptions,
)


class EarlyStoppingOptions(TypedDict, total=False):
    """As `preceptor.contract.training.EarlyStopping`."""

    patience: int
    held_out: float


class TrainingOptions(TypedDict, total=False):
    """As `preceptor.contract.training.Training`."""

    epochs: int
    batch_size: int
    gradient_accumulation: int
    learning_rate: float | None
    schedule: Literal["one_cycle", "cosine", "constant"]
    weight_decay: float
    ema: float | None
    early_stopping: EarlyStoppingOptions | None
    class_weights: Literal["none", "balanced"]
    augmentation: Literal["auto", "mirror", "none"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    seed: int
    seeds: int
    time_limit_seconds: float | None


class _Builtin(TypedDict, total=False):
    name: Literal["auto", "cnn", "bow", "mlp"]


class BuiltinStudentOptions(_Builtin):
    """As `preceptor.contract.distillations.BuiltinStudent`."""

    kind: Literal["builtin"]


class _Transformers(TypedDict, total=False):
    config: dict[str, int | float | bool | str | list[int] | list[str] | None]


class TransformersStudentOptions(_Transformers):
    """As `preceptor.contract.distillations.TransformersStudent`."""

    kind: Literal["transformers"]
    model_type: str


class TimmStudentOptions(TypedDict):
    """As `preceptor.contract.distillations.TimmStudent`."""

    kind: Literal["timm"]
    architecture: str


class RegisteredStudentOptions(TypedDict):
    """As `preceptor.contract.distillations.RegisteredStudent`."""

    kind: Literal["registered"]
    teacher: str


StudentOptions = BuiltinStudentOptions | TransformersStudentOptions | TimmStudentOptions | RegisteredStudentOptions


class PairCostOptions(TypedDict):
    """As `preceptor.contract.recommendations.PairCost`."""

    teacher: str
    student: str
    cost: float


class StatusData(TypedDict):
    """`data` of an event `status`."""

    status: Literal["queued", "running", "canceling", "canceled", "failed", "succeeded"]


class ProgressData(TypedDict, total=False):
    """`data` of an event `progress`: fraction from 0 to 1, remaining time in seconds."""

    fraction: float
    message: str
    remaining_seconds: float | None


class EpochData(TypedDict, total=False):
    """`data` of an event `epoch` of a distillation: `arm` names the student, the rest is as in `EpochMetrics`."""

    arm: str
    epoch: int
    loss: float
    cross_entropy: float
    transport: float
    accuracy: float | None
    agreement: float | None
    watched: float | None
    learning_rate: float | None
    items_per_second: float | None
    seconds: float


class TeacherData(TypedDict, total=False):
    """`data` of an event `teacher` of a recommendation: its score, or the reason why it has none."""

    name: str
    score: float
    reason: str
