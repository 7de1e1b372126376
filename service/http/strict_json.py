"""JSON bodies, read strictly: what is no JSON by RFC 8259, or could mean two things, is refused.

jiter reads; it is the parser of pydantic. Here is what it leaves open: how deep a body may be, how large a number.
"""

import codecs
import gc
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import jiter
import numpy as np

from preceptor.contract.problem import FieldError
from service.core.errors import MalformedRequest
from service.core.observability.logging_config import visible

_LARGE: Final = 64 * 2**10
_DEEPEST: Final = 32
_LARGEST: Final = int(sys.float_info.max)
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TOO_DEEP: Final = "The body is nested too deeply; nothing here needs more than ten levels"
_PERHAPS_TOO_LARGE: Final = re.compile(rb"[eE]\+?[0-9]*[1-9][0-9]|[0-9]{300}")
"""In every body with a number beyond doubles: it has an exponent of two digits, or three hundred digits."""

_FAULT: Final = re.compile(r"(.*) at line ([0-9]+) column ([0-9]+)", re.DOTALL)
_REPEATED: Final = re.compile(r'Detected duplicate key "(.*)"', re.DOTALL)
_NO_NUMBER: Final = re.compile(rb"-?(?:NaN|Infinity)")


def parsed(body: bytes) -> Any:
    """The value of a JSON text.

    Raises
    ------
    MalformedRequest
        It is not UTF-8, not JSON, nested too deeply, or holds `NaN`, `Infinity`, a key twice, a number beyond doubles
        or with thousands of digits, or half of a surrogate pair. The text says which, and where.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    _refuse_deep(body)
    try:
        with _without_collection(len(body)):
            value = jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as error:
        raise MalformedRequest(_described(str(error), body)) from error
    if _PERHAPS_TOO_LARGE.search(body) and _holds_too_large(value):
        pointer = _pointer_to_too_large(value) or ""
        detail = "the number is too large: at most 1.797e308 fits into a double"
        raise MalformedRequest(f"{pointer}: {detail}", errors=[FieldError(pointer=pointer, detail=detail)])
    return value


def _described(fault: str, body: bytes) -> str:
    """What is wrong, from the message of the parser, which ends with the place."""
    found = _FAULT.fullmatch(fault)
    reason, line, column = found.groups() if found else (fault, "1", "0")
    where = f"at line {line}, column {column}"
    if repeated := _REPEATED.fullmatch(reason):
        return (
            f'The key "{visible(repeated[1][:100])}" stands twice in one object ({where}); it is not clear which value '
            "is meant"
        )
    if reason == "number out of range":
        return f"The body holds a number with too many digits {where}"
    if reason == "invalid unicode code point":
        return f"The body is not UTF-8 {where}"
    if "hex escape" in reason:
        return (
            f"The body holds an escape {where} that is no character: \\u needs four hexadecimal digits, and \\ud800 to "
            "\\udfff stand only in pairs"
        )
    if number := _NO_NUMBER.match(body, _offset(body, int(line), int(column))):
        return f"The body holds {number[0].decode()} {where}, which is not JSON. Numbers must be finite"
    return f"The body is not valid JSON: {reason} {where}"


def _offset(body: bytes, line: int, column: int) -> int:
    """Where a place begins; a sign before it belongs to it."""
    begin = 0
    for _ in range(line - 1):
        begin = body.find(b"\n", begin) + 1
    offset = max(begin + column - 1, 0)
    return offset - 1 if body[offset - 1 : offset] == b"-" else offset


def _is_too_large(value: Any) -> bool:
    if type(value) is float:
        return math.isinf(value)
    return type(value) is int and not -_LARGEST <= value <= _LARGEST


def _holds_too_large(value: Any) -> bool:
    left = [value]
    while left:
        value = left.pop()
        if type(value) is dict:
            left.extend(value.values())
        elif type(value) is list:
            left.extend(value)
        elif _is_too_large(value):
            return True
    return False


def _pointer_to_too_large(value: Any) -> str | None:
    """The JSON pointer of the first number that is too large; None where there is none."""
    if isinstance(value, dict):
        inner: Any = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    else:
        return "" if _is_too_large(value) else None
    for key, each in inner:
        below = _pointer_to_too_large(each)
        if below is not None:
            return "/" + str(key)[:100].replace("~", "~0").replace("/", "~1") + below
    return None


@contextmanager
def _without_collection(size: int) -> Iterator[None]:
    """Nothing that is read is garbage yet: to look for it again and again took four fifths of the time."""
    if size < _LARGE or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _refuse_deep(body: bytes) -> None:
    """Before a value is made of it: a deep one takes many times its length."""
    if body.count(b"[") + body.count(b"{") <= _DEEPEST:
        return
    signs = np.frombuffer(_STRINGS.sub(b"", body), dtype=np.uint8)
    depth = 0
    for begin in range(0, len(signs), _LARGE):
        part = signs[begin : begin + _LARGE]
        opening = (part == ord("[")) | (part == ord("{"))
        closing = (part == ord("]")) | (part == ord("}"))
        open_now = depth + np.cumsum(opening.astype(np.int32) - closing)
        if open_now.max() > _DEEPEST:
            raise MalformedRequest(_TOO_DEEP)
        depth = int(open_now[-1])
