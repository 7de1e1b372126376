"""`/v1/distillations`"""

from collections.abc import Mapping
from typing import Any

from ...contract.distillations import Distillation, DistillationBody
from ...contract.jobs import JobSummary
from ...contract.page import Page
from ..bodies import body
from ..calls import Call, at, call, model


def create(values: Mapping[str, Any], wait: float | None, idempotency_key: str | None) -> Call[Distillation]:
    wanted = body(DistillationBody, values)
    path = "/v1/distillations"
    return call("POST", path, model(Distillation), body=wanted, wait=wait, idempotency_key=idempotency_key)


def get(distillation: str) -> Call[Distillation]:
    return call("GET", at("distillations", distillation), model(Distillation))


def page(limit: int, cursor: str | None) -> Call[Page[JobSummary]]:
    return call("GET", "/v1/distillations", model(Page[JobSummary]), query={"limit": limit, "cursor": cursor})
