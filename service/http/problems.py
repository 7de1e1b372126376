"""The one place where errors become HTTP answers: `application/problem+json` (RFC 9457), no trace leaks."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from preceptor.contract.problem import MEDIA_TYPE, TYPE_BASE, FieldError, Problem
from preceptor.contract.validation_messages import said
from service.core.errors import InvalidRequest, MalformedRequest, MethodNotAllowed, NotFound, PreceptorError

from .route_methods import Methods

log = structlog.stdlib.get_logger(__name__)
_MAX_ERRORS: Final = 20
_RETRY_SECONDS: Final = "5"
_EVERY: Final = (400, 401, 403, 413, 422, 500, 503)
_MEANINGS: Final = {
    400: "The request could not be read",
    401: "The service asks for an API key or a token, and there is no valid one in `Authorization`",
    403: "The scope of the API key or the token does not allow it",
    404: "There is nothing with this id",
    408: "The rest of the body did not come in time; nothing was accepted",
    409: "The state of the resource does not allow it",
    412: "`If-Match` named another version",
    413: "The body, or something in it, is over its limit",
    415: "The format, type or encoding of the body is not accepted",
    416: "The byte range is outside the file",
    422: "The request was understood, but is wrong; `errors` says where",
    429: "The lane is full, or the caller has too many unfinished jobs or event streams; nothing was accepted",
    500: "Something went wrong here; the log has it under `instance`",
    503: "Redis, the store or the issuer of the token does not answer; send the same request again",
    507: "The store is full; nothing was accepted",
}


def install(app: FastAPI, methods: Methods) -> None:
    """Register the translations on an application."""
    app.state.methods = methods
    app.add_exception_handler(PreceptorError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def problems(*statuses: int, every: tuple[int, ...] = _EVERY) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for these statuses and for those that every route under `/v1` may give."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*every, *statuses})
    }


def answer(error: PreceptorError, request: Request) -> Response:
    """An error of ours as a response."""
    headers = dict(error.headers)
    if error.status in (429, 503, 507):
        headers.setdefault("Retry-After", _RETRY_SECONDS)
    return _respond(error.problem(_request_id(request)), headers)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, PreceptorError)
    if error.status >= 500:
        log.warning("request failed", problem=error.slug, detail=error.detail, path=request.url.path)
    return answer(error, request)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    errors = [FieldError(pointer=_pointer(entry["loc"], error.body), detail=said(entry)) for entry in found]
    shown = errors[:_MAX_ERRORS]
    detail = "; ".join(f"{entry.pointer}: {entry.detail}" if entry.pointer else entry.detail for entry in shown[:3])
    if len(errors) > 3:
        detail += f"; and {len(errors) - 3} more"
    return answer(InvalidRequest(detail, errors=shown), request)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return answer(
            NotFound(f"There is nothing at {path[:200]}. /docs lists what there is", headers=headers), request
        )
    if error.status_code == 405:
        # The router names the methods of one route; a path may have several.
        methods: Methods = request.app.state.methods
        allowed = ", ".join(methods.allowed(path)) or headers.get("Allow", "GET, HEAD")
        return answer(
            MethodNotAllowed(
                f"{request.method[:20]} cannot be used on {path[:200]}; use {allowed}", headers={"Allow": allowed}
            ),
            request,
        )
    if error.status_code == 400:
        return answer(MalformedRequest(f"The request could not be read: {error.detail}", headers=headers), request)
    phrase = HTTPStatus(error.status_code).phrase
    slug = phrase.lower().replace(" ", "-")
    problem = Problem(
        type=TYPE_BASE + slug,
        title=phrase,
        status=error.status_code,
        detail=str(error.detail),
        instance=_request_id(request),
    )
    return _respond(problem, headers)


async def _gone(request: Request, error: Exception) -> Response:
    return answer(MalformedRequest("The connection was closed before the whole body had arrived"), request)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    # This answer is made outside of the middleware that adds the request's id to all others.
    id = str(_request_id(request))
    return answer(
        PreceptorError(
            f"Something went wrong here. The log has it under request id {id}", headers={"X-Request-Id": id}
        ),
        request,
    )


def _respond(problem: Problem, headers: Mapping[str, str]) -> Response:
    return Response(problem.model_dump_json(), status_code=problem.status, media_type=MEDIA_TYPE, headers=dict(headers))


def _request_id(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


def _pointer(location: tuple[Any, ...], body: Any) -> str:
    place, *path = location or ("body",)
    if place == "query":
        return "?" + ".".join(str(part) for part in path)
    if place in ("header", "path"):
        return f"{place}:" + ".".join(str(part) for part in path)
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1")[:100] for part in _keys(path, body))


def _keys(path: list[Any], body: Any) -> list[Any]:
    """The parts of a location that are keys of the body; pydantic puts the names of union members between."""
    keys: list[Any] = []
    for position, part in enumerate(path):
        if (isinstance(body, dict) and part in body) or (
            isinstance(body, list) and isinstance(part, int) and 0 <= part < len(body)
        ):
            body = body[part]
        elif position < len(path) - 1 or not isinstance(body, dict):
            continue
        keys.append(part)
    return keys
