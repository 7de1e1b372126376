"""JSON that is nested more deeply than anything here is refused before a value is made of it."""

import gc
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, strategies as st

from service.core.errors import MalformedRequest
from service.http.strict_json import parsed

_DEEPEST = 32


def depth(value: Any) -> int:
    """How many brackets stand open at most."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


values = st.recursive(
    st.none() | st.integers(-(10**6), 10**6) | st.text(alphabet='[]{}\\"a,:', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\', max_size=3), inner, max_size=3),
    max_leaves=60,
)


@given(values, st.integers(0, 40), st.booleans())
def test_depth_alone_decides(value: Any, more: int, objects: bool) -> None:
    for _ in range(more):
        value = {"]}": value} if objects else [value]
    body = json.dumps(value).encode()
    if depth(value) <= _DEEPEST:
        assert parsed(body) == value
    else:
        with pytest.raises(MalformedRequest, match="nested too deeply"):
            parsed(body)


@pytest.mark.parametrize(
    "body", [b"[" * 10**6, b"[{" * 10**5, b'{"a":' * 10**5 + b"1" + b"}" * 10**5, b"[" * 900 + b"]" * 900]
)
def test_without_end(body: bytes) -> None:
    with pytest.raises(MalformedRequest, match="nested too deeply"):
        parsed(body)


def test_strings_that_do_not_end_are_no_json() -> None:
    for body in (b'["' + b"[" * 100, b'{"a": "\\', b'"' * 101 + b"[" * 40):
        with pytest.raises(MalformedRequest):
            parsed(body)


def test_garbage_is_collected_again_after_a_large_body() -> None:
    for body in (b"[" + b"[]," * 10**5 + b"[]]", b"[" + b"[]," * 10**5 + b"]"):
        with suppress(MalformedRequest):
            parsed(body)
        assert gc.isenabled()
