"""Errors as RFC 9457 problem documents."""

from typing import Final

from pydantic import Field

from .base import Answer

MEDIA_TYPE: Final = "application/problem+json"
TYPE_BASE: Final = "urn:preceptor:problem:"


class FieldError(Answer):
    """One thing wrong with the request, and where."""

    pointer: str = Field(
        description="JSON pointer into the body (`/student/labels/3`), `?name` for a query, `header:Name`"
    )
    detail: str


class Problem(Answer):
    """What went wrong and what to do (RFC 9457)."""

    type: str = Field(
        description="A stable URN that names the kind of problem", examples=[TYPE_BASE + "invalid-request"]
    )
    title: str
    status: int
    detail: str = Field(description="What was wrong here, and what to do")
    instance: str | None = Field(default=None, description="The request's id; logs carry the same")
    errors: list[FieldError] = Field(default_factory=list[FieldError])
