"""What a receiver asks for with `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_MOST_DIGITS: Final = 9
"""Of seconds: nobody waits for longer, and an answer must not choose how large a number is made of it."""


def seconds_of(value: str, now: datetime) -> float | None:
    """The pause that is asked for, 0 where it is over; None where the text is nothing of the kind."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _MOST_DIGITS else None
    try:
        moment = parsedate_to_datetime(text)
        # A date without a zone is in GMT, as all dates of HTTP.
        return max((moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds(), 0.0)
    except (ValueError, OverflowError):
        return None
