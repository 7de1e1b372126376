"""When another attempt is made, and after how long."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from preceptor.core.effects import Reply
from preceptor.core.retries import backoff, delay, retry_after
from preceptor.core.settings import Settings

SETTINGS = replace(Settings.build("http://x", None, 1.0, 4), chance=lambda: 1.0)


def reply(status: int, **headers: str) -> Reply:
    return Reply(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_the_backoff_doubles_up_to_its_cap_with_jitter_over_the_upper_half() -> None:
    assert [backoff(SETTINGS, attempt) for attempt in range(6)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    low = replace(SETTINGS, chance=lambda: 0.0)
    assert [backoff(low, attempt) for attempt in range(3)] == [0.25, 0.5, 1.0]
    assert backoff(SETTINGS, 10_000) == 8.0


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_passing_troubles_are_retried(status: int) -> None:
    assert delay(SETTINGS, 0, reply(status)) == 0.5
    assert delay(SETTINGS, 3, reply(status, retry_after="9")) == 9.0
    assert delay(SETTINGS, 4, reply(status)) is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413, 415, 422, 500, 501, 507])
def test_lasting_troubles_are_not(status: int) -> None:
    assert delay(SETTINGS, 0, reply(status, retry_after="1")) is None


def test_a_broken_connection_is_retried() -> None:
    assert delay(SETTINGS, 1, None) == 1.0
    assert delay(replace(SETTINGS, max_retries=0), 0, None) is None


def test_retry_after_may_be_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert retry_after(reply(503, retry_after=format_datetime(soon, usegmt=True))) == pytest.approx(30, abs=2)
    assert retry_after(reply(503, retry_after=format_datetime(soon - timedelta(hours=1)))) == 0.0
    assert retry_after(reply(503, retry_after="tomorrow")) is None
    assert retry_after(reply(503, retry_after="-1")) is None
    assert retry_after(reply(503)) is None
