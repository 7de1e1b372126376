"""`/health`, `/version` and `/metrics`"""

from dataclasses import replace

from pydantic import ValidationError

from ...contract.health import Health, Version
from ..calls import Call, call, model
from ..effects import Reply


def _is_health(reply: Reply) -> bool:
    """A service that is not ready says so with 503 and the same document."""
    if reply.status != 503:
        return reply.status == 200
    try:
        Health.model_validate_json(reply.content)
    except ValidationError:
        return False
    return True


def ready() -> Call[Health]:
    return replace(call("GET", "/health/ready", model(Health)), accept=_is_health)


def version() -> Call[Version]:
    return call("GET", "/version", model(Version))


def metrics() -> Call[str]:
    return call("GET", "/metrics", lambda reply: reply.content.decode(), headers={"Accept": "text/plain"})
