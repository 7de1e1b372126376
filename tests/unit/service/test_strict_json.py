"""What is no JSON, or could mean two things, is refused, with the place and the reason."""

import json
import math

import pytest
from hypothesis import given, strategies as st

from service.core.errors import MalformedRequest
from service.http.strict_json import parsed


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"a": 1, "a": 2}', 'The key "a" stands twice in one object (at line 1, column'),
        (b'{"x": {"b": 1,\n"b": 1}}', 'The key "b" stands twice in one object (at line 2, column'),
        ('{"é": 1, "\\u00e9": 2}'.encode(), 'The key "é" stands twice'),
        (b'{"a at line 3 column 4": 1, "a at line 3 column 4": 2}', 'The key "a at line 3 column 4" stands twice'),
        (b'{"a\\u001b[2J": 1, "a\\u001b[2J": 2}', 'The key "a\\u{1b}[2J" stands twice'),
        (b"[1, NaN]", "holds NaN at line 1, column 5, which is not JSON"),
        (b"[\n\n Infinity]", "holds Infinity at line 3, column 2"),
        (b"-Infinity", "holds -Infinity at line 1"),
        (b"[1, nan]", "not valid JSON: "),
        (b"[1,]", "not valid JSON: trailing comma at line 1, column 4"),
        (b"[1 2]", "not valid JSON: expected `,` or `]` at line 1, column 4"),
        (b"", "not valid JSON: EOF"),
        (b"{'a': 1}", "not valid JSON: key must be a string"),
        (b'"a\nb"', "not valid JSON: control character"),
        (b'["a\x00"]', "not valid JSON: control character"),
        (b"01", "not valid JSON: invalid number"),
        (b"1 2", "not valid JSON: trailing characters"),
        (b"\xff\xfe1\x00", "not valid JSON: "),
        (b'"\xff"', "not UTF-8 at line 1, column 2"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'{"a": "\\ud800"}', "no character"),
        (b'{"\\udc00": 1}', "no character"),
        (b'"\\ud800x"', "no character"),
        (b'"\\u12xy"', "not valid JSON: invalid escape"),
        (b"1" * 5000, "too many digits"),
        (b"[" * 33 + b"]" * 33, "nested too deeply"),
    ],
)
def test_what_is_refused_and_why(body: bytes, told: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        parsed(body)
    assert told in refused.value.detail
    assert refused.value.detail.isprintable()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"1e999", ""),
        (b'{"a": [1, {"b/c~": -1e+328}]}', "/a/1/b~1c~0"),
        (b'{"a": 1, "b": 1.8E308}', "/b"),
        (b'{"a": "1e999", "b": [2, 1%s]}' % (b"0" * 309), "/b/1"),
        (b"[%s.5]" % (b"9" * 309), "/0"),
        (b"[%se99]" % (b"9" * 250), "/0"),
        (b"[-%se9]" % (b"9" * 300), "/0"),
    ],
)
def test_a_number_beyond_doubles_is_refused_with_its_place(body: bytes, pointer: str) -> None:
    with pytest.raises(MalformedRequest, match="too large") as refused:
        parsed(body)
    (error,) = refused.value.errors
    assert error.pointer == pointer


@pytest.mark.parametrize(
    "body",
    [
        b"1.7976931348623157e308", b"-1.7976931348623157e+308", b"1e-400", b"1%s" % (b"0" * 308), b"[1e10, 1e300]",
        b'"1e999"', b'{"1e999": "%s"}' % (b"9" * 400), b"%se9" % (b"9" * 299), b"0e999", b"-0", b"12345678901234567890",
        b'"\\ud83d\\ude00 \\u0000"', b"\xef\xbb\xbf[1]", b' \t\r\n{"a": [true, false, null]} ', b'"\xf4\x8f\xbf\xbf"',
        b"[" * 32 + b"]" * 32,
    ],
)  # fmt: skip
def test_what_is_read_is_what_python_reads(body: bytes) -> None:
    value, expected = parsed(body), json.loads(body)
    assert value == expected
    assert type(value) is type(expected)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(values, st.booleans())
def test_every_value_comes_back(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert parsed(body) == value


@given(st.binary(max_size=40) | st.text('[]{}",:0123456789eE+-.NaInfty\\ud8 \n', max_size=40).map(str.encode))
def test_what_python_refuses_is_refused(body: bytes) -> None:
    try:
        value = parsed(body)
    except MalformedRequest:
        return
    assert json.loads(body.decode("utf-8-sig")) == value
    if isinstance(value, float):
        assert math.isfinite(value)
