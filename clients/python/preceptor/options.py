"""Dictionaries that stand for models of the contract, and those of job events, for type checkers.

`training={"epoch": 3}` is then an error in the editor, not only in the answer of the service.
"""

from typing import Literal, TypedDict

Weight = float | Literal["auto"]


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


class _Transport(TypedDict, total=False):
    weight: Weight
    ground_cost: Literal["joint", "names"]
    eps: float
    temperature: float
    relaxation: float | None


class TransportLossOptions(_Transport, total=False):
    """As `preceptor.contract.losses.TransportLoss`, which is meant when `name` is absent."""

    name: Literal["transport"]


class _RidgeMap(TypedDict, total=False):
    weight: Weight
    use_names: bool


class RidgeMapLossOptions(_RidgeMap):
    """As `preceptor.contract.losses.RidgeMapLoss`."""

    name: Literal["ridge_map"]


class _MappedKl(TypedDict, total=False):
    weight: Weight
    eps: float
    temperature: float


class MappedKlLossOptions(_MappedKl):
    """As `preceptor.contract.losses.MappedKlLoss`."""

    name: Literal["mapped_kl"]


class _Relational(TypedDict, total=False):
    weight: Weight
    temperature: float | None


class RelationalLossOptions(_Relational):
    """As `preceptor.contract.losses.RelationalLoss`."""

    name: Literal["relational"]


class _Features(TypedDict, total=False):
    weight: Weight


class FeaturesLossOptions(_Features):
    """As `preceptor.contract.losses.FeaturesLoss`."""

    name: Literal["features"]


class _Wkd(TypedDict, total=False):
    weight: Weight
    kappa: float | None
    eps: float
    temperature: float


class WkdLossOptions(_Wkd):
    """As `preceptor.contract.losses.WkdLoss`."""

    name: Literal["wkd"]


class _Uld(TypedDict, total=False):
    weight: Weight
    temperature: float


class UldLossOptions(_Uld):
    """As `preceptor.contract.losses.UldLoss`."""

    name: Literal["uld"]


class NoLossOptions(TypedDict):
    """As `preceptor.contract.losses.NoLoss`."""

    name: Literal["none"]


LossOptions = (
    TransportLossOptions
    | RidgeMapLossOptions
    | MappedKlLossOptions
    | RelationalLossOptions
    | FeaturesLossOptions
    | WkdLossOptions
    | UldLossOptions
    | NoLossOptions
)


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
