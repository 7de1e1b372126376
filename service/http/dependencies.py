"""What the routes share: the state, the request's id, the `Prefer` header."""

import re
from typing import Annotated, cast

from fastapi import Depends, Header, Request

from service.core.state import State


# Dependencies are coroutines even where they wait for nothing: FastAPI runs others in a thread, which costs more than
# the rest of a short request.
async def _state(request: Request) -> State:
    return _state_of(request)


def _state_of(request: Request) -> State:
    return cast(State, request.app.state.preceptor)


StateOf = Annotated[State, Depends(_state)]


async def _wait(
    request: Request,
    prefer: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description="`wait=N`: answer 200 if the job ends within N seconds, else 202 (RFC 7240)",
            max_length=200,
        ),
    ] = None,
) -> float:
    # The header may stand in several lines; a preference that is not understood is ignored, as its RFC wants it.
    everything = ",".join(request.headers.getlist("prefer"))
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,6})", everything, re.IGNORECASE)
    seconds = float(found.group(1)) if found else 0.0
    return min(seconds, _state_of(request).settings.max_wait_seconds)


WaitOf = Annotated[float, Depends(_wait)]
"""Seconds that the caller is ready to wait."""
