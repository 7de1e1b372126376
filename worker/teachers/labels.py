"""Which class names can carry meaning from one label space to another, and which cannot."""

import re
import unicodedata
from typing import Final

from pydantic import TypeAdapter, ValidationError

from preceptor.contract.labels import Labels
from service.core.class_names import placeholders

from .errors import TeacherUnusable

_CONTRACT: Final[TypeAdapter[list[str]]] = TypeAdapter(Labels)


def _normalised(label: str) -> str:
    # Case is kept: "a" and "A" are two classes of a letter recogniser.
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", label)).strip()


def checked_labels(labels: list[str]) -> list[str]:
    """The class names as they will be stored, if ground costs can be computed from them.

    Parameters
    ----------
    labels
        Class names in the order of the model's outputs.

    Returns
    -------
    list of str
        NFC-normalised, without surrounding white space.

    Raises
    ------
    TeacherUnusable
        Fewer than two, empty, not distinct, or placeholders such as ``LABEL_0``, ``class_3``, ``7``.
    """
    if len(labels) < 2:
        raise TeacherUnusable(
            f"the teacher has {len(labels)} label; a classifier needs at least 2. Give all class names"
        )
    _refuse_placeholders(labels)
    seen: dict[str, int] = {}
    for position, label in enumerate(labels):
        key = _normalised(label)
        if key in seen:
            raise TeacherUnusable(
                f"labels must be distinct: {label!r} at position {position} equals {labels[seen[key]]!r} at "
                f"position {seen[key]}. Give `labels` with a word that tells them apart, "
                f"for example '{label} (1)' and '{label} (2)' or a better name"
            )
        seen[key] = position
    try:
        return _CONTRACT.validate_python(labels)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"label {first['loc'][0]}: " if first["loc"] else ""
        raise TeacherUnusable(f"{where}{first['msg']}. Give `labels` with names that can be read") from None


def _refuse_placeholders(labels: list[str]) -> None:
    found = placeholders(labels)
    if not found:
        return
    shown = ", ".join(repr(label) for label in found[:3])
    raise TeacherUnusable(
        f"labels such as {shown} are numbers without meaning, so nothing can be compared with them. Give `labels` "
        f"with real class names in the order of the model's outputs (digits as words: 'zero', 'one'), or write "
        f"them into id2label of config.json"
    )


def agreed_labels(given: list[str] | None, carried: list[str] | None) -> list[str] | None:
    """The names to use where the registration and the model's own files may both name the classes.

    The registration wins, because it can repair what the file lacks; but the same names in another order
    are a slip that would silently mix up all classes.
    """
    if given is None or carried is None:
        return given or carried
    if len(given) == len(carried) and given != carried and sorted(given) == sorted(carried):
        position = next(i for i, (a, b) in enumerate(zip(given, carried, strict=True)) if a != b)
        raise TeacherUnusable(
            f"the registered labels are those of config.json in another order (position {position}: "
            f"{given[position]!r} against {carried[position]!r}). Leave `labels` out, or give them in the order "
            f"of id2label"
        )
    return given
