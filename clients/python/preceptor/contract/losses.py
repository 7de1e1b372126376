"""Losses of a distillation, selected by `name`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict, cast

from pydantic import Discriminator, Field, Tag

from .base import Body, Flag, Number, tagged
from .versions import Since

Weight = Annotated[Number, Field(ge=0, le=1000)] | Literal["auto"]


class TransportLoss(Body):
    """`CE + weight(t) * OT_eps(p_T, p_S; C)` (arXiv 2204.11526).

    Attributes
    ----------
    weight
        Weight of the transport term; `auto`: chosen by cross-validation on the labelled items, with 0 (no
        distillation) among the candidates.
    ground_cost
        `names`: distance between label names. `joint`: label names combined with the labelled items,
        -log P(student class | teacher class).
    relaxation
        KL weight of the teacher's marginal; `null`: the marginal is a constraint (balanced transport).
    """

    name: Literal["transport"] = "transport"
    weight: Weight = "auto"
    ground_cost: Literal["joint", "names"] = "joint"
    eps: Number = Field(default=0.05, gt=0, le=10)
    temperature: Number = Field(default=1.0, gt=0, le=100)
    relaxation: Annotated[Number, Field(gt=0, le=1000)] | None = None


class RidgeMapLoss(Body):
    """Cross-entropy to soft labels, from a linear map of the teacher's outputs to the student's classes.

    The map is a ridge regression fitted to the labelled items.

    Attributes
    ----------
    weight
        As for `transport`.
    use_names
        Whether the map may start from the affinity of the label names; `false`: plain ridge regression.
    """

    model_config = tagged("name")

    name: Literal["ridge_map"] = "ridge_map"
    weight: Weight = "auto"
    use_names: Flag = True


class MappedKlLoss(Body):
    """KL divergence to the teacher's prediction, mapped to student classes by P(student class | teacher class).

    Attributes
    ----------
    weight
        As for `transport`.
    eps, temperature
        As for `transport`; the map follows from its joint cost.
    """

    model_config = tagged("name")

    name: Annotated[Literal["mapped_kl"], Since(2, ("mapped_kl",))] = "mapped_kl"
    weight: Weight = "auto"
    eps: Number = Field(default=0.05, gt=0, le=10)
    temperature: Number = Field(default=1.0, gt=0, le=100)


class RelationalLoss(Body):
    """Cross-entropy to a nearest-centre classifier in the teacher's feature space (ReFilled, Ye et al., CVPR 2020).

    The centres are the means of the labelled items of each student class. Label names are not used.

    Attributes
    ----------
    weight
        As for `transport`.
    temperature
        Divides the cosine to a centre; `null`: maximises the likelihood of held-out labels.
    """

    model_config = tagged("name")

    name: Literal["relational"] = "relational"
    weight: Weight = "auto"
    temperature: Annotated[Number, Field(gt=0, le=100)] | None = None


class FeaturesLoss(Body):
    """Cosine between the student's embedding and the teacher's, under a linear map trained with the student.

    The map goes from the teacher's space to the student's. Neither names nor labels are used.

    Attributes
    ----------
    weight
        As for `transport`.
    """

    model_config = tagged("name")

    name: Annotated[Literal["features"], Since(2, ("features",))] = "features"
    weight: Weight = "auto"


class WkdLoss(Body):
    """Transport with a cost from class centres in the teacher's feature space (WKD-L, Lv et al., arXiv 2412.08139).

    `C = 1 - exp(-kappa (1 - IR))`, IR the cosine between the centres of a teacher class and a student class. Names are
    not used.

    Attributes
    ----------
    weight
        As for `transport`.
    kappa
        Rate at which the cost rises with the distance of two classes; `null`: maximises the likelihood of held-out
        labels.
    eps
        Entropic regularisation, in units of the cost (at most 1).
    temperature
        Softmax temperature of teacher and student predictions.
    """

    model_config = tagged("name")

    name: Annotated[Literal["wkd"], Since(2, ("wkd",))] = "wkd"
    weight: Weight = "auto"
    kappa: Annotated[Number, Field(gt=0, le=100)] | None = None
    eps: Number = Field(default=0.05, ge=0.005, le=10)
    temperature: Number = Field(default=1.0, gt=0, le=100)


class UldLoss(Body):
    """Distance between sorted predictions (Boizard et al., arXiv 2402.12030); ignores which class is which.

    A weak baseline: it matches confidence and ignores class identity.

    Attributes
    ----------
    weight
        As for `transport`.
    """

    model_config = tagged("name")

    name: Literal["uld"] = "uld"
    weight: Weight = "auto"
    temperature: Number = Field(default=1.0, gt=0, le=100)


class NoLoss(Body):
    """No teacher: cross-entropy only."""

    model_config = tagged("name")

    name: Literal["none"] = "none"

    @property
    def weight(self) -> float:
        """Weight of the teachers' term: 0."""
        return 0.0


def _kind_of_loss(value: Any) -> Any:
    # Requests without `name` predate the other losses and mean `transport`.
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get("name", "transport")
    return getattr(value, "name", None)


Loss = Annotated[
    Annotated[TransportLoss, Tag("transport")]
    | Annotated[RidgeMapLoss, Tag("ridge_map")]
    | Annotated[MappedKlLoss, Tag("mapped_kl")]
    | Annotated[RelationalLoss, Tag("relational")]
    | Annotated[FeaturesLoss, Tag("features")]
    | Annotated[WkdLoss, Tag("wkd")]
    | Annotated[UldLoss, Tag("uld")]
    | Annotated[NoLoss, Tag("none")],
    Discriminator(
        _kind_of_loss,
        custom_error_type="loss_name",
        custom_error_message="a loss is an object whose name is transport, ridge_map, mapped_kl, relational, features, "
        "wkd, uld or none",
    ),
]
"""The loss that uses the teachers, selected by `name`; `transport` without one."""


# The same for type checkers: a dictionary that a caller of the SDK writes.
WeightOption = float | Literal["auto"]


class _Transport(TypedDict, total=False):
    weight: WeightOption
    ground_cost: Literal["joint", "names"]
    eps: float
    temperature: float
    relaxation: float | None


class TransportLossOptions(_Transport, total=False):
    """As `preceptor.contract.losses.TransportLoss`, which is meant when `name` is absent."""

    name: Literal["transport"]


class _RidgeMap(TypedDict, total=False):
    weight: WeightOption
    use_names: bool


class RidgeMapLossOptions(_RidgeMap):
    """As `preceptor.contract.losses.RidgeMapLoss`."""

    name: Literal["ridge_map"]


class _MappedKl(TypedDict, total=False):
    weight: WeightOption
    eps: float
    temperature: float


class MappedKlLossOptions(_MappedKl):
    """As `preceptor.contract.losses.MappedKlLoss`."""

    name: Literal["mapped_kl"]


class _Relational(TypedDict, total=False):
    weight: WeightOption
    temperature: float | None


class RelationalLossOptions(_Relational):
    """As `preceptor.contract.losses.RelationalLoss`."""

    name: Literal["relational"]


class _Features(TypedDict, total=False):
    weight: WeightOption


class FeaturesLossOptions(_Features):
    """As `preceptor.contract.losses.FeaturesLoss`."""

    name: Literal["features"]


class _Wkd(TypedDict, total=False):
    weight: WeightOption
    kappa: float | None
    eps: float
    temperature: float


class WkdLossOptions(_Wkd):
    """As `preceptor.contract.losses.WkdLoss`."""

    name: Literal["wkd"]


class _Uld(TypedDict, total=False):
    weight: WeightOption
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
