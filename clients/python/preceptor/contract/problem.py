"""Errors as RFC 9457 problem documents."""

from typing import Final

from pydantic import Field

from .base import Answer

MEDIA_TYPE: Final = "application/problem+json"
TYPE_BASE: Final = "urn:preceptor:problem:"


class FieldError(Answer):
    """One error in the request, and its position."""

    pointer: str = Field(
        description="JSON pointer into the body (`/student/labels/3`), `?name` for a query parameter, `header:Name`"
    )
    detail: str


class Problem(Answer):
    """An error and how to correct it (RFC 9457)."""

    type: str = Field(
        description="A stable URN that names the kind of problem", examples=[TYPE_BASE + "invalid-request"]
    )
    title: str
    status: int
    detail: str = Field(description="What was found, what was expected, and what to do")
    instance: str | None = Field(default=None, description="Id of the request, as in the logs")
    errors: list[FieldError] = Field(default_factory=list[FieldError])
