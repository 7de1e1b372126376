"""Cursor pagination."""

from typing import Generic, TypeVar

from pydantic import Field

from .base import Answer

Item = TypeVar("Item")


class Page(Answer, Generic[Item]):
    """One page of a list, newest first. `next` is the cursor of the next page, or null."""

    items: list[Item]
    next: str | None = Field(default=None, description="Pass as `cursor` for the next page")
