"""`Retry-After` comes from whoever a webhook names: any text, and no harm."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, strategies as st

from service.webhooks.sender import retry_after_seconds

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_WORDS = st.sampled_from(
    [
        "Thu",
        "01",
        "Jan",
        "2026",
        "00:02:00",
        "GMT",
        ",",
        ":",
        "-0000",
        "+9999",
        "9999",
        "-1",
        "99999999999",
        ".",
        "a",
        "1:2:3:4",
        "Jan,",
    ]
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Thu, 01 Jan 2026 00:02:00", 120.0),
        ("Thu, 01 Jan 2026 01:02:00 +0100", 120.0),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0661", None),
        ("9" * 5000, None),
        ("Thu, 99 Jan 2026 00:02:00 GMT", None),
    ],
)
def test_what_it_asks_for(text: str, seconds: float | None) -> None:
    assert retry_after_seconds(text, NOW) == seconds


@given(st.one_of(st.text(), st.lists(_WORDS).map(" ".join), st.lists(_WORDS).map("".join)))
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example(",")
def test_no_text_does_harm(text: str) -> None:
    found = retry_after_seconds(text, NOW)
    assert found is None or 0 <= found < 1e12
