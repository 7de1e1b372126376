"""From the labels of an upload to class numbers: which names there are, in which order, and who is who."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn

from pydantic import TypeAdapter, ValidationError

from preceptor.contract.labels import MAX_LABEL_LENGTH, MAX_LABELS, Label
from service.core.errors import InvalidProbe, TooLarge
from service.core.labels.class_names import placeholders

from .items import RawLabel, Stream, shown

_UNLABELLED: Final = -1
_WHOLE: Final = re.compile(r"([+-]?(?:0|[1-9][0-9]{0,18}))(?:\.0*)?")  # 0.0: pandas writes numbers with gaps so
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FRACTION: Final = re.compile(r"[+-]?[0-9]*\.[0-9]*[1-9][0-9]*|.*[eE][+-]?[0-9]+")
_MISSING: Final = frozenset(
    ("nan", "-nan", "nat", "na", "n/a", "<na>", "#n/a", "#na", "null", "<null>", "none", "<none>", "(null)", "\\n")
)
"""What programs write for a value that is not there, in lower case: pandas, R, SQL, Excel, Python."""
_LABEL: Final[TypeAdapter[str]] = TypeAdapter(Label)
_ALONE: Final = "with one class there is nothing to tell apart"


@dataclass(frozen=True)
class Classes:
    """The classes of a probe.

    Attributes
    ----------
    names
        In label order; None where only numbers are known.
    labelled
        Whether the items carry labels.
    numbers
        Class number of each label as the upload writes it.
    warnings
        What may be wrong with them.
    """

    names: list[str] | None
    labelled: bool
    numbers: dict[RawLabel, int] = field(default_factory=dict[RawLabel, int])
    warnings: list[str] = field(default_factory=list[str])


def classes_of(stream: Stream, given: list[str] | None) -> Classes:
    """Read the labels of an upload once and number them.

    The order of the names is that of `given`, else that which the upload declares, else sorted by code point.
    Numbers index the upload's own names where it has some, else `given`. All items carry a label, or none does
    (-1 means none).

    Raises
    ------
    InvalidProbe, TooLarge
    """
    own = class_names(stream.label_names, "the file's class names") if stream.label_names is not None else None
    wanted = class_names(given, "labels") if given else None
    names = wanted or own
    if stream.labels is None:
        return Classes(names, False)
    seen = _distinct(stream.labels())
    values = _values(seen, stream, names)
    present = [raw for raw, value in values.items() if value is not None]
    missing = [raw for raw, value in values.items() if value is None]
    if not present:
        words = [
            f"every label is a word for a missing value, such as {shown(raw)}, so the probe is unlabelled"
            for raw in missing
            if isinstance(raw, str)
        ]
        return Classes(names, False, warnings=words[:1])
    if missing:
        first = missing[0]
        if all(map(_is_minus_one, missing)) and {values[raw] for raw in present} == {1}:
            raise InvalidProbe(
                f"the labels are -1 ({seen[first]}) and +1 ({seen[present[0]]}), and -1 means that an item has no "
                "label. Number the classes 0 and 1"
            )
        raise InvalidProbe(
            f"some items have a label ({seen[present[0]]}) and some have none ({seen[first]}){_why_missing(first)}. "
            "Upload the labelled and the unlabelled ones as two probes"
        )
    texts = {raw: value for raw, value in values.items() if isinstance(value, str)}
    numbers = {raw: value for raw, value in values.items() if isinstance(value, int)}
    if texts and numbers:
        text, number = next(iter(texts)), next(iter(numbers))
        raise InvalidProbe(
            f"labels must be all names or all numbers: {seen[text]} has {shown(text)}, {seen[number]} has "
            f"{shown(number)}"
        )
    found = _named(texts, seen, names) if texts else _numbered(numbers, seen, own, wanted)
    return replace(found, warnings=_doubts(found))


def _why_missing(raw: RawLabel) -> str:
    if _is_minus_one(raw):
        return ": -1 means no label; if it is a class, number the classes from 0"
    if isinstance(raw, str):
        return f": {shown(raw)} means a missing value; if it is a class, name all classes with ?labels="
    return ""


def _is_minus_one(raw: RawLabel) -> bool:
    if isinstance(raw, str):
        return bool(found := _WHOLE.fullmatch(raw.strip())) and int(found[1]) == _UNLABELLED
    return raw == _UNLABELLED


def _doubts(found: Classes) -> list[str]:
    """What may be wrong with the classes of a labelled probe."""
    doubts: list[str] = []
    if found.names is None:
        lowest = min(found.numbers.values())
        if lowest > 0:
            doubts.append(
                f"the smallest class number is {lowest}, and numbers start at 0: {_classes(range(lowest))} no item. If "
                "the classes are numbered from 1, subtract 1"
            )
        return doubts
    if empty := placeholders(found.names):
        doubts.append(
            f"class names such as {_listed(empty)} name nothing: teachers can be compared on the items only, not by "
            "names. Name the classes with ?labels="
        )
    alike: dict[str, list[str]] = {}
    for name in found.names:
        plain = re.sub(r"[\s_-]+", " ", name.casefold()) if len(name) > 1 else name  # single letters differ by case
        alike.setdefault(plain, []).append(name)
    if doubles := [names for names in alike.values() if len(names) > 1]:
        doubts.append(
            f"the classes {_listed(doubles[0])} differ only in case, spaces or hyphens; if they are one class, give "
            "them one name"
        )
    return doubts


def _classes(numbers: range) -> str:
    return "class 0 has" if len(numbers) == 1 else f"classes 0 to {numbers[-1]} have"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shown(name) for name in names[:3])


def class_names(names: list[str], what: str) -> list[str]:
    """Class names, cleaned.

    Raises
    ------
    InvalidProbe, TooLarge
        Too many, too few, empty, too long or equal ones; `what` says whose they are.
    """
    if len(names) > MAX_LABELS:
        raise TooLarge(f"{what}: {len(names):,} class names; at most {MAX_LABELS:,} are taken")
    cleaned: dict[str, int] = {}
    for position, name in enumerate(names):
        label = _clean(name, f"{what}, position {position}")
        if label in cleaned:
            raise InvalidProbe(
                f"{what}: class names must be distinct, and {shown(label)} stands at positions {cleaned[label]} and "
                f"{position}"
            )
        cleaned[label] = position
    if len(cleaned) < 2:
        raise InvalidProbe(f"{what}: at least 2 class names are needed, not {len(cleaned)}; {_ALONE}")
    return list(cleaned)


def _clean(name: str, where: str) -> str:
    try:
        return _LABEL.validate_python(name)
    except ValidationError as error:
        kind = error.errors()[0]["type"]
        if kind == "string_too_long":
            reason = f"has {len(name):,} characters; at most {MAX_LABEL_LENGTH} are taken"
        elif kind == "string_too_short":
            reason = "is empty"
        else:
            reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InvalidProbe(f"{where}: the label {shown(name)} cannot be used: {reason}") from None


def _distinct(labels: Iterable[tuple[RawLabel, str]]) -> dict[RawLabel, str]:
    """Every different label with the place of its first item. Bounded: long or many labels are refused at once."""
    seen: dict[RawLabel, str] = {}
    for given, where in labels:
        label = None if isinstance(given, float) and math.isnan(given) else given
        if label in seen:
            continue
        if isinstance(label, str):
            _clean(label, where)
        seen[label] = where
        if len(seen) > MAX_LABELS + 1:
            raise TooLarge(f"the labels have more than {MAX_LABELS:,} different values; is this the right column?")
    return seen


def _values(seen: dict[RawLabel, str], stream: Stream, names: list[str] | None) -> dict[RawLabel, int | str | None]:
    """What each label means: a cleaned name, a number, or None."""
    texts = {raw: _clean(raw, seen[raw]) for raw in seen if isinstance(raw, str)}
    known = set(names or ())
    missing = {
        raw for raw, text in texts.items() if not stream.folders and text not in known and text.lower() in _MISSING
    }
    there = {raw: text for raw, text in texts.items() if raw not in missing}
    values: dict[RawLabel, int | str | None] = {**there}
    if stream.untyped and not set(there.values()) <= known:
        whole = {raw: _WHOLE.fullmatch(text) for raw, text in there.items()}
        if all(whole.values()):
            values = {raw: int(found[1]) for raw, found in whole.items() if found is not None}
        elif all(_DECIMAL.fullmatch(text) for text in there.values()):
            for raw, text in there.items():
                if _FRACTION.fullmatch(text):
                    _refuse_fraction(raw, seen[raw])
    for raw in missing:
        values[raw] = None
    for raw, where in seen.items():
        if isinstance(raw, float):
            if not raw.is_integer():
                _refuse_fraction(raw, where)
            values[raw] = int(raw)
        elif not isinstance(raw, str):
            values[raw] = raw
    return {raw: None if value == _UNLABELLED else value for raw, value in values.items()}


def _refuse_fraction(raw: RawLabel, where: str) -> NoReturn:
    raise InvalidProbe(
        f"{where} has the label {shown(raw)}: a number with a fraction is no class. Write class names or whole "
        "numbers; if such numbers are names, list them with ?labels="
    )


def _named(texts: dict[RawLabel, str], seen: dict[RawLabel, str], names: list[str] | None) -> Classes:
    if names is None:
        names = sorted(set(texts.values()))
        if len(names) < 2:
            raise InvalidProbe(
                f"all items have the class {shown(names[0])}; {_ALONE}. If others exist, name all with ?labels="
            )
    position = {name: number for number, name in enumerate(names)}
    for raw, name in texts.items():
        if name not in position:
            raise InvalidProbe(
                f"{seen[raw]} has the label {shown(name)}, which is not among the {len(names):,} class names "
                f"{shown(names)}"
            )
    return Classes(names, True, {raw: position[name] for raw, name in texts.items()})


def _numbered(
    numbers: dict[RawLabel, int], seen: dict[RawLabel, str], own: list[str] | None, wanted: list[str] | None
) -> Classes:
    names = own or wanted
    for raw, number in numbers.items():
        if number < 0:
            raise InvalidProbe(
                f"{seen[raw]} has the class number {shown(number)}; numbers start at 0 (-1 for all items means "
                "unlabelled)"
            )
        if names is not None and number >= len(names):
            raise InvalidProbe(
                f"{seen[raw]} has the class number {shown(number)}, but there are {len(names):,} class names, so "
                f"numbers go from 0 to {len(names) - 1:,}"
            )
        if number >= MAX_LABELS:
            raise InvalidProbe(
                f"{seen[raw]} has the class number {shown(number)}; at most {MAX_LABELS:,} classes are taken"
            )
    if own is not None and wanted is not None:  # the file says what its numbers mean, the caller wants another order
        return _named({raw: own[number] for raw, number in numbers.items()}, seen, wanted)
    if names is None and len(numbers) < 2:
        raise InvalidProbe(
            f"all items have the class number {next(iter(numbers.values()))}; {_ALONE}. If others exist, name all "
            "with ?labels="
        )
    return Classes(names, True, dict(numbers))
