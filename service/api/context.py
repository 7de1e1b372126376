"""What the routes share: the state, the request's id, the `Prefer` header."""

import re
from typing import Annotated, cast

from fastapi import Depends, Header, Request

from service.state.state import State


def _state(request: Request) -> State:
    return cast(State, request.app.state.preceptor)


StateOf = Annotated[State, Depends(_state)]


def _wait(
    request: Request,
    prefer: Annotated[
        str | None,
        Header(description="`wait=N`: answer 200 if the job ends within N seconds, else 202", max_length=200),
    ] = None,
) -> float:
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", prefer or "")
    seconds = float(found.group(1)) if found else 0.0
    return min(seconds, _state(request).settings.max_wait_seconds)


WaitOf = Annotated[float, Depends(_wait)]
"""Seconds that the caller is ready to wait."""
