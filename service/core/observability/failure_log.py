"""Logs why Redis or the store failed. Responses to callers state only what they can do about it."""

import re
import time
from typing import Final

import structlog

log = structlog.stdlib.get_logger(__name__)
_AGAIN_SECONDS: Final = 60.0
_LONGEST: Final = 300
_MOST: Final = 100
_QUERY: Final = re.compile(r"\?[^\s\"'>]+")
"""Bucket URLs may contain a signature."""

_logged_at: dict[tuple[str, str], float] = {}


def log_cause(of: str, error: BaseException) -> None:
    """Log the cause of a failure, each cause at most once a minute: during an outage every request fails alike.

    Parameters
    ----------
    of
        The failed component: `Redis` or `the store`.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = f"{type(error).__name__}: {_QUERY.sub('?...', lines[0])[:_LONGEST] if lines else 'no reason given'}"
    moment = time.monotonic()
    if moment - _logged_at.get((of, cause), -_AGAIN_SECONDS) < _AGAIN_SECONDS:
        return
    if len(_logged_at) >= _MOST:
        _logged_at.clear()
    _logged_at[of, cause] = moment
    log.warning("cause of a failure", of=of, cause=cause)
