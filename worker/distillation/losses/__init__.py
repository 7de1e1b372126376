"""The losses, one file each. `FAMILIES` is the table: a new loss is a new file, a new row here, and its test.

A family reads the teachers' outputs and the labelled items once, before training, and returns a term: a number per
step that is differentiable in the student's logits. The trainer adds the cross-entropy on the labels.
"""

from typing import Final

from .features import FeaturesFamily
from .mapped_kl import MappedKlFamily
from .none import NoFamily
from .relational import RelationalFamily
from .ridge_map import RidgeMapFamily
from .term import Evidence, HeldOutTerm, ItemwiseTerm, LikeliestClassTerm, LossFamily, LossTerm, Term
from .transport import TransportFamily
from .uld import UldFamily
from .wkd import WkdFamily

FAMILIES: Final[dict[str, LossFamily]] = {
    "transport": TransportFamily(),
    "ridge_map": RidgeMapFamily(),
    "mapped_kl": MappedKlFamily(),
    "relational": RelationalFamily(),
    "features": FeaturesFamily(),
    "wkd": WkdFamily(),
    "uld": UldFamily(),
    "none": NoFamily(),
}

__all__ = [
    "FAMILIES",
    "Evidence",
    "HeldOutTerm",
    "ItemwiseTerm",
    "LikeliestClassTerm",
    "LossFamily",
    "LossTerm",
    "Term",
]
