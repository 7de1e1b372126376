"""Spoils JSON: absurd values at any place, keys lost, doubled or renamed, deep nesting, odd text."""

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any, Final

from .byte_mutations import damaged

STRINGS: Final = (
    "",
    " ",
    "\x00",
    "\ud800",
    "\U0010ffff",
    "é" * 40,
    "a" * 5000,
    "../../etc/passwd",
    "/etc/passwd",
    "null",
    "1e400",
    "\u202e\u200f",
    "क्षत्रिय",
    "مرحبا",
    "猫",
    "a\u0300\u0301" * 60,
    "{{7*7}}",
    "%00%ff",
    "<|endoftext|>",
    "(a+)+$",
)
# Python refuses to write numbers of more than 4300 digits, and the readers should see one.
_MANY_DIGITS: Final = "\x01many digits"
NUMBERS: Final = (
    0, -1, 1, 2, 255, 256, -(2**31), 2**31, 2**32, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 2**64, 10**30, _MANY_DIGITS,
    0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
Extra = Callable[[Random], Any]


def nested(depth: int, rng: Random) -> Any:
    """Lists in lists, or objects in objects."""
    value: Any = 0
    objects = rng.random() < 0.5
    for _ in range(depth):
        value = {"a": value} if objects else [value]
    return value


def spoilt(value: Any, rng: Random, extra: Extra | None = None) -> Any:
    """A copy of a JSON value with one to four changes; `extra` makes values that suit the format."""
    root = [deepcopy(value)]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        parent, key = _somewhere(root, rng)
        _change(parent, key, rng, extra)
        if not root:
            root = [None]
    return root[0]


def _somewhere(root: list[Any], rng: Random) -> tuple[Any, Any]:
    parent: Any = root
    key: Any = 0
    while True:
        value = parent[key]
        if not isinstance(value, (dict, list)) or not value or rng.random() < 0.15:
            return parent, key
        parent = value
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))


def _change(parent: Any, key: Any, rng: Random, extra: Extra | None) -> None:
    kind = rng.randrange(10)
    value = parent[key]
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[rng.choice(STRINGS)] = parent.pop(key)
    elif kind == 2 and isinstance(parent, list) and len(parent) < 1000:
        parent[key:key] = [deepcopy(value) for _ in range(rng.choice((1, 2, 100)))]
    elif kind == 3 and isinstance(parent, dict):
        parent[key] = deepcopy(rng.choice(list(parent.values())))
    elif kind == 4:
        parent[key] = rng.choice((None, True, False, [], {}, [[]], {"": None}, [value], {"a": value}))
    elif kind == 5:
        parent[key] = nested(rng.choice((3, 40, 100)), rng)
    elif kind == 6 and extra is not None:
        parent[key] = extra(rng)
    elif kind in (7, 8) or not isinstance(value, str):
        parent[key] = rng.choice(NUMBERS)
    else:
        parent[key] = rng.choice(STRINGS)


def text_of(value: Any, rng: Random) -> bytes:
    """A JSON value as bytes: now and then with a key doubled, a mark before it, another encoding, or damage."""
    text = _dump(value, ascii_only=rng.random() < 0.7)
    kind = rng.randrange(24)
    if kind == 0 and isinstance(value, dict) and value:
        key = rng.choice(list(value))
        text = "{" + f"{_dump(key, ascii_only=True)}: 1, " + text[1:]
    elif kind == 1:
        text = "\ufeff" + text
    elif kind == 2:
        return text.encode(rng.choice(("utf-16", "utf-32", "utf-16-le")), "surrogatepass")
    elif kind == 3:
        text += rng.choice((text, "]", "//", "\x00", ","))
    elif kind == 4:
        depth = rng.choice((1000, 100_000))
        text = rng.choice(("[", '{"a":')) * depth
    data = text.encode("utf-8", "surrogatepass")
    return damaged(data, rng) if kind in (5, 6, 7) else data


def _dump(value: Any, *, ascii_only: bool) -> str:
    text = json.dumps(value, ensure_ascii=ascii_only)
    return text.replace(json.dumps(_MANY_DIGITS), "1" + "0" * 5000)
