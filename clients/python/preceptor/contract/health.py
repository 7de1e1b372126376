"""Health and version."""

from typing import Literal

from pydantic import Field

from .base import Answer


class Check(Answer):
    """One dependency of the service."""

    status: Literal["ok", "failing"]
    detail: str = ""
    advice: str = Field(default="", description="Recommended change of configuration, although the dependency works")


class Health(Answer):
    """Whether the service is ready, and the state of each dependency."""

    status: Literal["ok", "failing"]
    checks: dict[str, Check] = Field(default_factory=dict[str, Check])


class Version(Answer):
    """Versions of the service, its API and Python."""

    service: str
    api: Literal["v1"] = "v1"
    python: str
