"""The class of all routes: refuses what FastAPI would read past, so that no part of a request is ignored."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, get_args, get_origin

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from preceptor.contract.problem import FieldError
from service.core.async_helpers import LARGE, in_document_thread
from service.core.errors import InvalidRequest, UnsupportedType

from .bodies import refuse_encoding
from .strict_json import parsed

if TYPE_CHECKING:
    from fastapi._compat import ModelField


class StrictRoute(APIRoute):
    """Refuses unknown and repeated query parameters, bodies that are not JSON where JSON is meant, and bad JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler behind the checks."""
        handle = super().get_route_handler()
        several = _query_parameters(self.dependant)
        body = self.body_field

        async def checked(request: Request) -> Response:
            _refuse_query(request, several)
            return await handle(request if body is None else await _read(request, body))

        return checked


class _ReadRequest(Request):
    """A request whose JSON has been read."""

    value: Any = None

    async def json(self) -> Any:
        """The value."""
        return self.value


async def _read(request: Request, field: "ModelField") -> Request:
    reading = _ReadRequest(request.scope, request.receive)
    body = await reading.body()
    if body:
        refuse_encoding(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not (kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))):
            given = f"not {kind[:100]!r}" if kind else "and no Content-Type was sent"
            raise UnsupportedType(f"The body must be JSON with Content-Type: application/json, {given}")
        reading.value = parsed(body) if len(body) <= LARGE else await in_document_thread(_validated, body, field)
    return reading


def _validated(body: bytes, field: "ModelField") -> Any:
    """The model that a body describes, which FastAPI takes as it is; what is wrong is left for FastAPI to tell."""
    value = parsed(body)
    model, errors = field.validate(value, {}, loc=("body",))
    return value if errors else model


def _query_parameters(dependant: Dependant) -> dict[str, bool]:
    """The names of the query parameters, and whether each may stand more than once."""
    found = {field.alias: _takes_several(field.field_info.annotation) for field in dependant.query_params}
    for inner in dependant.dependencies:
        found |= _query_parameters(inner)
    return found


def _takes_several(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_takes_several(part) for part in get_args(annotation))


def _refuse_query(request: Request, several: dict[str, bool]) -> None:
    errors: list[FieldError] = []
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        shown = ascii(name[:60])[1:-1]
        if name not in several:
            known = ", ".join(several) or "none"
            errors.append(FieldError(pointer=f"?{shown}", detail=f"there is no such query parameter; known: {known}"))
        elif count > 1 and not several[name]:
            errors.append(FieldError(pointer=f"?{shown}", detail=f"it is given {count} times; give it once"))
    if errors:
        detail = "; ".join(f"{error.pointer}: {error.detail}" for error in errors[:3])
        raise InvalidRequest(detail, errors=errors[:20])
