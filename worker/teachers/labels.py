"""Which class names can carry meaning from one label space to another, and which cannot."""

import re
import unicodedata
from collections import Counter
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from preceptor.contract.labels import Labels
from service.core.labels.class_names import placeholders
from worker.label_encoder import readable

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
    """The names to use if the registration and the model's own files may both name the classes.

    The registration wins, because it can repair what the file lacks; but the same names in another order
    are a slip that would silently mix up all classes. Names are the same if they differ in case, accents, separators,
    WordNet ids or in synonyms behind the first one.

    Raises
    ------
    TeacherUnusable
        Two or more classes have exchanged their places.
    """
    if given is None or carried is None:
        return given or carried
    if len(given) == len(carried) and (moved := moved_names(given, carried)):
        position, place = moved[0]
        raise TeacherUnusable(
            f"the registered labels are those of the model's own files in another order (position {position}: "
            f"{given[position]!r}, which is position {place} there; position {position} there is "
            f"{carried[position]!r}). Leave `labels` out, or give them in the order of the model's outputs (id2label "
            f"of config.json)"
        )
    return given


def moved_names(names: list[str], others: list[str]) -> list[tuple[int, int]]:
    """Names of one list that stand at another place of the other list, in whatever spelling.

    Parameters
    ----------
    names, others
        Class names of the same outputs, of equal length.

    Returns
    -------
    list of (int, int)
        Place in `names` and place in `others`, for each name that is found once in both lists and not at the same
        place; empty if there are fewer than two (a single one is another name for its class, not a permutation).
    """
    if names == others:
        return []
    for spelled in (str, _key, _first_synonym):
        places = _unique([spelled(other) for other in others])
        own = _unique([spelled(name) for name in names])
        moved = sorted((place, places[key]) for key, place in own.items() if places.get(key, place) != place)
        if len(moved) > 1:
            return moved
    return []


def _unique(keys: list[str]) -> dict[str, int]:
    counts = Counter(keys)
    return {key: place for place, key in enumerate(keys) if key and counts[key] == 1}


def _key(label: str) -> str:
    """What is left of a name without its spelling: letters and digits, folded."""
    plain = unicodedata.normalize("NFKD", readable(label).casefold())
    return "".join(sign for sign in plain if sign.isalnum() or unicodedata.category(sign) == "Mc")


def _first_synonym(label: str) -> str:
    return _key(re.split("[,;|]", label)[0])


def config_labels(config: dict[str, Any]) -> list[str] | None:
    """The class names of a config.json, in the order of the model's outputs.

    `id2label` is what transformers answers with; `label2id`, with which the model was trained, must not contradict it.

    Returns
    -------
    list of str or None
        None if the config has no `id2label`.

    Raises
    ------
    TeacherUnusable
        A table is malformed, or the two put the same names in different orders.
    """
    names = _by_number(config.get("id2label"))
    numbers = _by_name(config.get("label2id"))
    if names is None or numbers is None or len(names) != len(numbers):
        return names
    if moved := moved_names(names, numbers):
        position, place = moved[0]
        raise TeacherUnusable(
            f"config.json contradicts itself: id2label names output {position} {names[position]!r}, label2id says "
            f"that {names[position]!r} is output {place}. Correct the wrong one of the two tables"
        )
    return names


def _by_number(table: Any) -> list[str] | None:
    if table is None:
        return None
    if not isinstance(table, dict) or not all(isinstance(label, str) for label in table.values()):
        raise TeacherUnusable("id2label in config.json must map class numbers to names; save the model again")
    if set(table) != {str(position) for position in range(len(table))}:
        raise TeacherUnusable(
            f"id2label in config.json must have the keys 0 to {len(table) - 1} without a gap; save the model again"
        )
    return [table[str(position)] for position in range(len(table))]


def _by_name(table: Any) -> list[str] | None:
    """The names of label2id by their numbers; None unless it numbers all of them from 0, each once."""
    if not isinstance(table, dict) or not table:
        return None
    try:
        numbered = {int(number): name for name, number in table.items()}
    except (TypeError, ValueError, OverflowError):
        return None
    if set(numbered) != set(range(len(table))):
        return None
    return [numbered[position] for position in range(len(table))]
