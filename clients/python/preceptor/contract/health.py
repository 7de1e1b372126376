"""Health and version."""

from typing import Literal

from pydantic import Field

from .base import Answer


class Check(Answer):
    """One thing that the service needs."""

    status: Literal["ok", "failing"]
    detail: str = ""
    advice: str = Field(default="", description="What an operator should change although it works")


class Health(Answer):
    """Whether the service can do its work, and what is missing."""

    status: Literal["ok", "failing"]
    checks: dict[str, Check] = Field(default_factory=dict[str, Check])


class Version(Answer):
    """Versions of what answers."""

    service: str
    api: Literal["v1"] = "v1"
    python: str
