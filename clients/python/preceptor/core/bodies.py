"""Request bodies from plain Python values, refused here in the same words and class as by the service."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from ..contract.ids import LABEL_SET, is_id
from ..contract.labels import LabelSet, LabelSetBody
from ..contract.validation_messages import said
from ..errors import invalid
from .class_names import require_visible

M = TypeVar("M", bound=BaseModel)


def body(kind: type[M], values: Mapping[str, Any]) -> M:
    """A body of the contract from values; None means 'not given'.

    Raises
    ------
    InvalidRequestError
        With one JSON pointer a field.
    """
    given = {name: value for name, value in values.items() if value is not None}
    plain = {name: _plain(value) for name, value in given.items()}
    try:
        made = kind.model_validate(plain)
    except ValidationError as error:
        fields: dict[str, str] = {}
        for entry in error.errors(include_url=False):
            fields.setdefault(_pointer(entry["loc"], plain), said(entry))
        whole = fields.pop("", None)
        spelled = "; ".join(f"{pointer}: {text}" for pointer, text in list(fields.items())[:3])
        raise invalid(whole or spelled, fields) from None
    _require_visible_names(plain)
    return made


def _require_visible_names(value: Any, pointer: str = "") -> None:
    """Refuse invisible class names wherever a body has `labels`."""
    if isinstance(value, list):
        for place, each in enumerate(cast("list[Any]", value)):
            if isinstance(each, Mapping):
                _require_visible_names(each, f"{pointer}/{place}")
    elif isinstance(value, Mapping):
        for name, each in cast("Mapping[str, Any]", value).items():
            if name == "labels" and isinstance(each, list):
                require_visible(cast("list[Any]", each), f"{pointer}/labels")
            elif isinstance(each, Mapping | list):
                _require_visible_names(each, f"{pointer}/{name}")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    return value


def _pointer(location: tuple[int | str, ...], value: Any) -> str:
    """A JSON pointer; drops the names of union members, which stand in the location but not in the value."""
    parts: list[str] = []
    for depth, part in enumerate(location):
        if isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        elif not (isinstance(value, Mapping) and depth == len(location) - 1):
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in parts)


Labels = str | Sequence[str] | LabelSetBody | LabelSet
"""A label set as a caller gives it: class names in order, the id of a registered set, or either model."""


def labels_or_id(labels: Labels | None) -> Any:
    """A label set in the form of the contract: an id, or a body."""
    if labels is None or isinstance(labels, LabelSetBody):
        return labels
    if isinstance(labels, LabelSet):
        return labels.id
    if isinstance(labels, str):
        if is_id(LABEL_SET, labels):
            return labels
        raise invalid(f"{labels!r} is not the id of a label set; give class names as a list")
    return {"labels": listed(labels, "labels")}


def names(labels: Labels) -> list[str]:
    """The bare class names of a label set."""
    if isinstance(labels, str):
        raise invalid("give the class names as a list")
    return list(labels.labels) if isinstance(labels, LabelSetBody | LabelSet) else listed(labels, "labels")


def listed(values: Any, name: str) -> list[Any]:
    """A list of what a caller gives for several.

    Raises
    ------
    InvalidRequestError
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise invalid(f"{name} must be a list, not {kind_of(values)}")
    return list(cast("Iterable[Any]", values))


def kind_of(value: Any) -> str:
    """The type of a value, as a message names it."""
    return f"a {type(value).__name__}"


def identifier(resource: Any) -> Any:
    """The id of a resource that is given itself or by its id.

    Raises
    ------
    InvalidRequestError
        It has no id.
    """
    if resource is None or isinstance(resource, str):
        return resource
    id = getattr(resource, "id", None)
    if not isinstance(id, str):
        raise invalid(f"expected an id or a resource of this service, not {kind_of(resource)}")
    return id
