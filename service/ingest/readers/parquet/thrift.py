"""Reads Thrift's compact protocol, as Parquet writes it: numbers, texts and structs; what is not needed is skipped."""

from dataclasses import dataclass
from typing import Any, Final

TRUE, FALSE, BYTE, I64, DOUBLE, BINARY, LIST, SET, STRUCT = 1, 2, 3, 6, 7, 8, 9, 10, 12
_DEPTH: Final = 8

Wanted = dict[int, "Wanted | None"]
"""The fields of a struct that are wanted; of a field that is a struct or a list of them, those within."""


class TooMany(Exception):
    """The lists have more elements than may be read."""


@dataclass
class Budget:
    """How many more elements of lists may be read, those that are skipped among them.

    Attributes
    ----------
    elements
        What is left.
    """

    elements: int


def varint(view: memoryview, position: int) -> tuple[int, int]:
    """A number without sign, and where what follows begins.

    Raises
    ------
    ValueError, IndexError
        It does not end.
    """
    value = shift = 0
    while shift < 70:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number without an end")


def struct(
    view: memoryview, position: int, wanted: Wanted | None = None, depth: int = 0, budget: Budget | None = None
) -> tuple[dict[int, Any], int]:
    """A struct's fields by number, and where what follows begins.

    Parameters
    ----------
    wanted
        Where given: only these fields are kept, lists and bytes among them; that one stands twice or has another
        type than 64 bits, bytes, struct or list is an error. Where None: numbers, flags and structs are
        kept, the last of each number.
    budget
        None for no limit but the bytes.

    Raises
    ------
    ValueError, IndexError
        It is damaged, or nested too deeply.
    TooMany
        The budget does not suffice.
    """
    if depth > _DEPTH:
        raise ValueError("nested too deeply")
    fields: dict[int, Any] = {}
    number = 0
    while kind := view[position]:
        position += 1
        if kind >> 4:
            number += kind >> 4
        else:
            raw, position = varint(view, position)
            number = (raw >> 1) ^ -(raw & 1)
        keeps = wanted is not None and number in wanted
        kind &= 0x0F
        if keeps and kind not in (I64, BINARY, STRUCT, LIST):  # another reader would pass over such a field
            raise ValueError(f"type {kind}")
        within = wanted[number] if wanted is not None and keeps else None
        value, position = _value(view, position, kind, depth, within, keeps, budget)
        if wanted is None:
            fields[number] = value
        elif keeps:
            if number in fields:
                raise ValueError(f"field {number} twice")
            fields[number] = value
    return fields, position + 1


def _value(
    view: memoryview, position: int, kind: int, depth: int, wanted: Wanted | None, keeps: bool, budget: Budget | None
) -> tuple[Any, int]:
    if kind in (TRUE, FALSE):
        return kind == TRUE, position
    if kind == BYTE:
        return view[position], position + 1
    if BYTE < kind <= I64:
        raw, position = varint(view, position)
        return (raw >> 1) ^ -(raw & 1), position
    if kind == DOUBLE:
        if position + 8 > len(view):
            raise ValueError("cut off")
        return None, position + 8
    if kind == BINARY:
        size, position = varint(view, position)
        return view[position : position + size].tobytes() if keeps else None, position + size
    if kind == STRUCT:
        return struct(view, position, wanted, depth + 1, budget)
    if kind in (LIST, SET):
        return _list(view, position, depth, wanted, keeps, budget)
    raise ValueError(f"type {kind}")  # maps do not stand in what is read here


def _list(
    view: memoryview, position: int, depth: int, wanted: Wanted | None, keeps: bool, budget: Budget | None
) -> tuple[Any, int]:
    size, inner = view[position] >> 4, view[position] & 0x0F
    position += 1
    if size == 15:
        size, position = varint(view, position)
    if size > len(view) - position:  # each takes a byte at least
        raise ValueError(f"a list of {size} elements")
    if budget is not None:
        budget.elements -= size
        if budget.elements < 0:
            raise TooMany
    found: list[Any] | None = [] if keeps else None
    for _ in range(size):
        if inner in (TRUE, FALSE):
            value, position = view[position] == TRUE, position + 1
        else:
            value, position = _value(view, position, inner, depth + 1, wanted, keeps, budget)
        if found is not None:
            found.append(value)
    return found, position
