"""Which columns of a table (Parquet, CSV, JSON lines) hold the items and their labels, by name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from service.core.errors import InvalidProbe

IMAGE_COLUMNS: Final = ("image", "img")
TEXT_COLUMNS: Final = ("text", "sentence")
FEATURE_COLUMNS: Final = ("features", "embedding")
LABEL_COLUMNS: Final = (
    "label",
    "labels",
    "intent",
    "class",
    "fine_label",
    "coarse_label",
    "label_name",
    "label_text",
    "class_name",
    "class_label",
    "category",
    "target",
    "y",
)
"""Names that a column may have, in any case; the first that is there counts."""
_MOST: Final = 64
_LONGEST: Final = 80


@dataclass
class ChosenColumns:
    """The columns of one upload that are read, and those that are not.

    Attributes
    ----------
    content, label
        As the upload writes their names; None if there is none.
    passed_over
        The others, in the order of the upload; at most 64.
    """

    content: str | None = None
    label: str | None = None
    passed_over: list[str] = field(default_factory=list[str])

    def pass_over(self, names: Iterable[str]) -> None:
        """Note columns that are not read."""
        for name in names:
            short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
            if len(self.passed_over) < _MOST and short not in self.passed_over:
                self.passed_over.append(short)

    def warnings(self, labelled: bool) -> list[str]:
        """What an upload's answer says of them: labels that may be in another column."""
        if self.label is None:
            if labelled or not self.passed_over:
                return []
            return [
                f"no column of labels was recognised among {_listed(self.passed_over)}, so the probe is unlabelled. If "
                "one holds the labels, name it `label` and upload again"
            ]
        others = [name for name in self.passed_over if canonical(name) in LABEL_COLUMNS]
        if not others:
            return []
        return [
            f"labels were read from column {self.label!r}; {_listed(others)} may hold labels too and were passed over. "
            "If another column is meant, name it `label` and upload again"
        ]


def canonical(name: str) -> str:
    """A column's name as it is compared: without case, surrounding space and quotes; `-` and space as `_`."""
    return name.strip().strip("\"'").strip().lower().replace(" ", "_").replace("-", "_")


def chosen(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Position of the first of `wanted` among the columns, an exact name before one in another case.

    Raises
    ------
    InvalidProbe
        Two columns have that name.
    """
    plain = [canonical(name) for name in names]
    for want in wanted:
        if want in plain:
            exact = [place for place, name in enumerate(names) if name == want]
            found = exact or [place for place, name in enumerate(plain) if name == want]
            if len(found) > 1:
                raise InvalidProbe(f"the file has the column {want!r} twice; keep one")
            return found[0]
    return None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown
