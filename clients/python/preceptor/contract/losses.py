"""How a student hears its teachers: the losses of a distillation, told by `name`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Discriminator, Field, Tag

from .base import Body, Flag, Number, tagged
from .versions import Since

Weight = Annotated[Number, Field(ge=0, le=1000)] | Literal["auto"]


class TransportLoss(Body):
    """`CE + weight(t) * OT_eps(p_T, p_S; C)` (arXiv 2204.11526).

    Attributes
    ----------
    weight
        Weight of the transport term, or `auto`: chosen by cross-validation on the labelled items, with 0
        (do not distil) among the choices.
    ground_cost
        `names`: distance of label names. `joint`: names joined with the evidence of the labelled items,
        -log P(student class | teacher class).
    relaxation
        KL weight of the teacher's marginal; `null` keeps it balanced.
    """

    name: Literal["transport"] = "transport"
    weight: Weight = "auto"
    ground_cost: Literal["joint", "names"] = "joint"
    eps: Number = Field(default=0.05, gt=0, le=10)
    temperature: Number = Field(default=1.0, gt=0, le=100)
    relaxation: Annotated[Number, Field(gt=0, le=1000)] | None = None


class RidgeMapLoss(Body):
    """Cross-entropy to soft labels, through a map from the teacher's outputs to the student's classes.

    The map is a ridge regression, fitted to the labelled items.

    Attributes
    ----------
    weight
        As for `transport`.
    use_names
        Whether the map may start from the affinity of the label names; `false` for the plain ridge map.
    """

    model_config = tagged("name")

    name: Literal["ridge_map"] = "ridge_map"
    weight: Weight = "auto"
    use_names: Flag = True


class MappedKlLoss(Body):
    """KL to the teacher's prediction, carried over to the student's classes by P(student class | teacher class).

    Attributes
    ----------
    weight
        As for `transport`.
    eps, temperature
        As for `transport`, from whose joint cost the map follows.
    """

    model_config = tagged("name")

    name: Annotated[Literal["mapped_kl"], Since(2, ("mapped_kl",))] = "mapped_kl"
    weight: Weight = "auto"
    eps: Number = Field(default=0.05, gt=0, le=10)
    temperature: Number = Field(default=1.0, gt=0, le=100)


class RelationalLoss(Body):
    """Cross-entropy to a nearest-centre classifier in the teacher's space (after ReFilled, Ye et al., CVPR 2020).

    The centres are those of the labelled items of each student class; no name is looked at.

    Attributes
    ----------
    weight
        As for `transport`.
    temperature
        Divides the cosine to a centre; `null`: the one that makes left-out labels likeliest.
    """

    model_config = tagged("name")

    name: Literal["relational"] = "relational"
    weight: Weight = "auto"
    temperature: Annotated[Number, Field(gt=0, le=100)] | None = None


class FeaturesLoss(Body):
    """Cosine of the student's embedding to the teacher's, through a linear map that is trained with the student.

    The map goes from the teacher's space to the student's. No name and no label is looked at.

    Attributes
    ----------
    weight
        As for `transport`.
    """

    model_config = tagged("name")

    name: Annotated[Literal["features"], Since(2, ("features",))] = "features"
    weight: Weight = "auto"


class WkdLoss(Body):
    """Transport at a cost from how classes lie in the teacher's space (WKD-L, Lv et al., arXiv 2412.08139).

    `C = 1 - exp(-kappa (1 - IR))`, IR the cosine of a teacher class's centre and a student class's. No name is
    looked at.

    Attributes
    ----------
    weight
        As for `transport`.
    kappa
        How fast the cost rises with the distance of two classes; `null`: the one that makes left-out labels
        likeliest.
    eps
        Entropic regularisation, in units of the cost, which is at most 1.
    temperature
        Softens the teacher's and the student's predictions.
    """

    model_config = tagged("name")

    name: Annotated[Literal["wkd"], Since(2, ("wkd",))] = "wkd"
    weight: Weight = "auto"
    kappa: Annotated[Number, Field(gt=0, le=100)] | None = None
    eps: Number = Field(default=0.05, ge=0.005, le=10)
    temperature: Number = Field(default=1.0, gt=0, le=100)


class UldLoss(Body):
    """Distance of sorted predictions (Boizard et al., arXiv 2402.12030): which class is which is not looked at.

    A weak baseline: it moves how sure the student is, not what of.

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
    """No teacher takes part: cross-entropy alone."""

    model_config = tagged("name")

    name: Literal["none"] = "none"

    @property
    def weight(self) -> float:
        """Of the teachers' term: 0."""
        return 0.0


def _kind_of_loss(value: Any) -> Any:
    # Requests without a name are older than the other losses: they mean transport.
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
"""How a teacher is heard, told by `name`; `transport` where no name stands."""
