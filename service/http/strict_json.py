"""JSON bodies, read strictly: what Python's reader accepts beyond RFC 8259, or resolves by guessing, is refused."""

import codecs
import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import numpy as np

from service.core.errors import MalformedRequest

_LARGE: Final = 64 * 2**10
_DEEPEST: Final = 32
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TOO_DEEP: Final = "The body is nested too deeply; nothing here needs more than ten levels"
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def parsed(body: bytes) -> Any:
    """The value of a JSON text.

    Raises
    ------
    MalformedRequest
        It is not UTF-8, not JSON, nested too deeply, or holds `NaN`, `Infinity`, a key twice, a number with
        thousands of digits, or half of a surrogate pair. The text says which.
    """
    _refuse_deep(body)
    try:
        with _without_collection(len(body)):
            value = json.loads(
                body.removeprefix(codecs.BOM_UTF8).decode(),
                object_pairs_hook=_distinct,
                parse_constant=_refuse_constant,
            )
        if _SURROGATE.search(body):
            # A lone surrogate is a Python string but no text: it can be neither stored nor answered.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"The body is not UTF-8: byte {error.start} does not belong there") from error
    except UnicodeEncodeError as error:
        raise MalformedRequest(
            "The body holds half of a surrogate pair (\\ud800 to \\udfff alone), which is no character"
        ) from error
    except json.JSONDecodeError as error:
        raise MalformedRequest(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise MalformedRequest(_TOO_DEEP) from error
    except ValueError as error:  # Python refuses to read integers of more than 4300 digits.
        raise MalformedRequest("The body holds a number with too many digits") from error
    return value


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


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise MalformedRequest(
                    f"The key {ascii(key)[:100]} stands twice in one object; it is not clear which value is meant"
                )
            seen.add(key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"The body holds {name}, which is not JSON. Numbers must be finite")
