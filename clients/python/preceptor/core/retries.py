"""When to try again, and how long to wait before.

Every attempt of one call carries the same Idempotency-Key, so a second attempt never does the work twice.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from .effects import Reply
from .settings import Settings

RETRIED: Final = frozenset({429, 502, 503, 504})
_FIRST: Final = 0.5
_CAP: Final = 8.0
_LONGEST_RETRY_AFTER: Final = 60.0
"""A service that asks for more than this gets no retry: the caller should decide, not wait in the dark."""


def backoff(settings: Settings, attempt: int) -> float:
    """Seconds before attempt + 1: exponential, capped, with jitter over its upper half."""
    return min(_CAP, _FIRST * 2.0 ** min(attempt, 10)) * (0.5 + 0.5 * settings.chance())


def retry_after(reply: Reply) -> float | None:
    """Seconds that the service asks for (RFC 9110, section 10.2.3: a number or a date)."""
    value = reply.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()) if value else None
    except (ValueError, TypeError):
        return None


def delay(settings: Settings, attempt: int, reply: Reply | None) -> float | None:
    """Seconds to wait before another attempt; None where there should be none.

    Parameters
    ----------
    attempt
        How many attempts were made before this one.
    reply
        The refused answer, or None where no answer came.
    """
    if attempt >= settings.max_retries:
        return None
    if reply is None:
        return backoff(settings, attempt)
    if reply.status not in RETRIED:
        return None
    asked = retry_after(reply)
    if asked is None:
        return backoff(settings, attempt)
    return asked if asked <= _LONGEST_RETRY_AFTER else None
