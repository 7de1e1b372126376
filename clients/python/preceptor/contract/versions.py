"""The version of the contract. It shows an older worker which requests of a newer service it cannot read.

Request models reject unknown fields. A request is therefore stored without newer fields that have their default value,
and with the lowest version that can read the rest.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

CONTRACT: Final = 2
"""Increased when a request gains a field, a value or a variant; `Since` marks the addition.

- 1: the first version.
- 2: `priority`; `budget_seconds`; schedules, EMA, early stopping, class weights, augmentation, precision and gradient
  accumulation of a training; the losses `wkd`, `mapped_kl` and `features`.
"""

_OBJECT: Final[TypeAdapter[dict[str, Any]]] = TypeAdapter(dict[str, Any])


@dataclass(frozen=True)
class Since:
    """Marks an addition to a request: `Annotated[Priority, Since(2)]`.

    Parameters
    ----------
    contract
        The first version that has it.
    values
        The new values, if the field is older, or is the tag of a newer variant of a union. Otherwise the field is new;
        its default (a plain value) must keep the behaviour from before the field existed.
    """

    contract: int
    values: tuple[str, ...] | None = None


def stored_form(body: BaseModel, *, nulls: bool = True) -> tuple[dict[str, Any], int]:
    """A request as JSON, without newer fields at their defaults, and the lowest version that can read it.

    Parameters
    ----------
    nulls
        Whether fields without a value are written as null.
    """
    form = _OBJECT.validate_json(body.model_dump_json(exclude_none=not nulls))
    return form, _lowered(body, form)


def full_form(kind: type[BaseModel], form: dict[str, Any]) -> dict[str, Any]:
    """A stored request, completed with the defaults of missing fields.

    A request that this version cannot read is returned unchanged: a newer version or less strict rules wrote it.
    """
    try:
        return _OBJECT.validate_json(kind.model_validate(form).model_dump_json())
    except ValidationError:
        return form


@cache
def _marks(kind: type[BaseModel]) -> list[tuple[str, tuple[Since, ...], Any]]:
    """The fields of a request model: name, marks, default."""
    return [
        (name, tuple(mark for mark in field.metadata if isinstance(mark, Since)), field.get_default())
        for name, field in kind.model_fields.items()
    ]


def _lowered(value: object, form: object) -> int:
    """Remove from `form` what older readers do not need; returns the version that the rest needs."""
    needed = 1
    if isinstance(value, BaseModel):
        fields = cast("dict[str, object]", form)
        for name, marks, default in _marks(type(value)):
            inner = getattr(value, name)
            if any(mark.values is None for mark in marks) and inner == default:
                fields.pop(name, None)
                continue
            for mark in marks:
                if mark.values is None or inner in mark.values:
                    needed = max(needed, mark.contract)
            if isinstance(inner, (BaseModel, list)):
                needed = max(needed, _lowered(cast("object", inner), fields[name]))
    elif isinstance(value, list):
        items = cast("list[object]", value)
        if items and isinstance(items[0], BaseModel):
            needed = max(map(_lowered, items, cast("list[object]", form)))
    return needed
