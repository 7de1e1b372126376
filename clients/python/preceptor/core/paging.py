"""Lists, page after page."""

from collections.abc import Callable
from typing import Any

from ..contract.page import Page
from ..errors import UnexpectedAnswerError, invalid
from .calls import Call, send
from .effects import Emit, Procedure
from .settings import Settings

PageCall = Callable[[str | None], Call[Page[Any]]]


def pages(settings: Settings, page: PageCall) -> Procedure[None]:
    """Emit every page of a list."""
    cursor: str | None = None
    while True:
        current: Page[Any] = yield from send(settings, page(cursor))
        yield Emit(current)
        if current.next is None:
            return
        if current.next == cursor:
            raise UnexpectedAnswerError("a list points to the same page again and would never end")
        cursor = current.next


def page_size(limit: int) -> int:
    """A checked page size."""
    if not isinstance(limit, int) or not 1 <= limit <= 200:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise invalid(f"page_size must be a whole number between 1 and 200, not {limit!r}")
    return limit
