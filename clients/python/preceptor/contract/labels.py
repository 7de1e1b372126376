"""Label sets: ordered class names, with optional descriptions, prior and embeddings."""

import math
import re
import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic.config import JsonDict

from .base import Answer, Body, Moment, Number
from .ids import LABEL_SET, LabelSetId, content_id

MAX_LABELS: Final = 20_000
MAX_LABEL_LENGTH: Final = 200
MAX_EMBEDDING_DIMENSION: Final = 4096
MAX_PRIOR: Final = 1e18
MIN_EMBEDDING_NORM: Final = 1e-6
"""Shorter vectors lose their direction when they are squared in float32."""

Coordinate = Annotated[Number, Field(ge=-1e6, le=1e6)]


_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f"
_INVISIBLE: Final = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0"
)
"""Characters without a glyph: of zero width, of direction, joiners, variation selectors, fillers, the empty Braille."""
_VISIBLE: Final = re.compile(rf"[^\s{_CONTROLS}{_INVISIBLE}\U000e0000-\U000e01ef]")
_LABEL_SCHEMA: Final[JsonDict] = {"pattern": rf"^[^{_CONTROLS}]*[^\s{_CONTROLS}{_INVISIBLE}][^{_CONTROLS}]*$"}
"""What `_clean` asks for, as far as a schema can say it."""


def _clean(name: str) -> str:
    if name.isascii() and name.isprintable() and (stripped := name.strip()):
        return stripped  # Fast path for most names: nothing to normalise, no control characters.
    name = unicodedata.normalize("NFC", name).strip()
    if not name:
        raise ValueError("a label must not be empty")
    for sign in name:
        if unicodedata.category(sign) in ("Cc", "Cs"):
            raise ValueError("a label must not contain control characters")
    if not _VISIBLE.search(name):
        points = " ".join(f"U+{ord(sign):04X}" for sign in name[:8])
        raise ValueError(f"a label must have a visible character, and this one has only {points}. Name the class")
    return name


Label = Annotated[
    str, Field(min_length=1, max_length=MAX_LABEL_LENGTH, json_schema_extra=_LABEL_SCHEMA), AfterValidator(_clean)
]
"""A class name in any script, NFC-normalised, without surrounding white space."""


def _distinct(labels: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    for position, label in enumerate(labels):
        if label in seen:
            raise ValueError(f"labels must be distinct: {label!r} stands at positions {seen[label]} and {position}")
        seen[label] = position
    return labels


Labels = Annotated[
    list[Label],
    # Validation stops at the first error, as in all lists that may have thousands of invalid entries.
    Field(fail_fast=True, min_length=2, max_length=MAX_LABELS, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]
"""Distinct class names in label order: at least 2, since one class leaves nothing to distinguish."""


Embedding = Annotated[list[Coordinate], Field(fail_fast=True, min_length=1, max_length=MAX_EMBEDDING_DIMENSION)]
"""The caller's own embedding of one label."""


def _few(given: object) -> object:
    # Not part of the schema: request generators would try to reach this limit.
    if isinstance(given, (dict, list)) and len(given) > MAX_LABELS:  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError(f"one entry a label is allowed, for at most {MAX_LABELS:,} labels")
    return given  # pyright: ignore[reportUnknownVariableType]


class LabelSetBody(Body):
    """An ordered set of class names.

    Attributes
    ----------
    descriptions
        One sentence for each label; encoded in place of the name if given.
    prior
        Class frequencies; normalised to sum 1. Uniform by default.
    embeddings
        The caller's label embeddings, one row a label, of any dimension. They replace the encoder, so both sides of a
        comparison must use the same encoder.
    """

    labels: Labels
    descriptions: Annotated[
        dict[str, Annotated[str, Field(min_length=1, max_length=1000)]] | None, BeforeValidator(_few)
    ] = None
    prior: (
        Annotated[list[Annotated[Number, Field(ge=0, le=MAX_PRIOR)]], Field(fail_fast=True), BeforeValidator(_few)]
        | None
    ) = None
    embeddings: Annotated[list[Embedding], Field(fail_fast=True), BeforeValidator(_few)] | None = None

    @model_validator(mode="after")
    def _agree(self) -> "LabelSetBody":
        if self.descriptions and (unknown := sorted(self.descriptions.keys() - set(self.labels))):
            raise ValueError(f"descriptions contain labels that are not in the set: {unknown[:5]}")
        if self.prior is not None:
            if len(self.prior) != len(self.labels):
                raise ValueError(
                    f"prior must have one entry a label: {len(self.prior)} given, {len(self.labels)} labels"
                )
            if math.fsum(self.prior) <= 0:
                raise ValueError("prior must have a positive sum")
        if self.embeddings is not None:
            if len(self.embeddings) != len(self.labels):
                raise ValueError(
                    f"embeddings must have one row a label: {len(self.embeddings)} given, {len(self.labels)} labels"
                )
            widths = {len(row) for row in self.embeddings}
            if len(widths) != 1:
                raise ValueError(f"embeddings must have the same dimension; found {sorted(widths)[:5]}")
            for position, row in enumerate(self.embeddings):
                if math.hypot(*row) < MIN_EMBEDDING_NORM:
                    raise ValueError(f"the embedding of {self.labels[position]!r} is zero: it has no direction")
        return self

    def identity(self) -> str:
        """The content-addressed identifier of this label set."""
        return content_id(LABEL_SET, [self.model_dump_json().encode()])

    def normalised_prior(self) -> list[float]:
        """The prior with sum 1; uniform by default."""
        if self.prior is None:
            return [1 / len(self.labels)] * len(self.labels)
        total = math.fsum(self.prior)
        return [p / total for p in self.prior]


def _form(given: object) -> str:
    return "id" if isinstance(given, str) else "names"


LabelSetGiven = Annotated[
    Annotated[LabelSetBody, Tag("names")] | Annotated[LabelSetId, Tag("id")], Discriminator(_form)
]
"""A label set, given in full or by the id of a registered set."""


class LabelSet(Answer):
    """A registered label set."""

    id: LabelSetId
    labels: list[str]
    descriptions: dict[str, str] | None = None
    prior: list[float] | None = None
    embeddings: list[list[float]] | None = None
    created_at: Moment
