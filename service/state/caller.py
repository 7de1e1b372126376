"""Who sends the request that is being worked on. A context variable: it follows the request through all calls."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Caller:
    """Who sends a request: an API key, or the subject of tokens.

    Attributes
    ----------
    max_jobs
        Most jobs without an end that the caller may have; 0 for no limit.
    """

    key: str
    max_jobs: int


CALLER: Final[ContextVar[Caller | None]] = ContextVar("caller", default=None)
"""None where the service asks for no keys."""
