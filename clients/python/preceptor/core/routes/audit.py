"""`/v1/audit`"""

from ...contract.audit import Audit
from ..calls import Call, call, model


def get() -> Call[Audit]:
    return call("GET", "/v1/audit", model(Audit))
