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
from service.state.errors import (
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    PreceptorError,
    TooLarge,
)

log = structlog.stdlib.get_logger(__name__)
_MAX_ERRORS: Final = 20


def install(app: FastAPI) -> None:
    """Register the translations on an application."""
    app.add_exception_handler(PreceptorError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for these statuses and for those that every route may give."""
    every = {400, 413, 422, 500, 503, *statuses}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(every)
    }


def answer(error: PreceptorError, request: Request) -> Response:
    """An error of ours as a response."""
    return _respond(error.problem(_request_id(request)), error.headers)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, PreceptorError)
    if error.status >= 500:
        log.warning("request failed", problem=error.slug, detail=error.detail, path=request.url.path)
    return answer(error, request)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(entry["type"] == "json_invalid" for entry in found):
        entry = next(entry for entry in found if entry["type"] == "json_invalid")
        reason = (entry.get("ctx") or {}).get("error", "it ends too early or is not UTF-8")
        return answer(MalformedRequest(f"The body is not valid JSON: {reason}"), request)
    errors = [FieldError(pointer=_pointer(entry["loc"], error.body), detail=_message(entry)) for entry in found]
    shown = errors[:_MAX_ERRORS]
    detail = "; ".join(f"{entry.pointer}: {entry.detail}" for entry in shown[:3])
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
        allowed = headers.get("Allow") or headers.get("allow") or "other methods"
        return answer(
            MethodNotAllowed(f"{request.method} cannot be used on {path[:200]}; use {allowed}", headers=headers),
            request,
        )
    if error.status_code == 413:
        return answer(TooLarge("The body is larger than this resource takes", headers=headers), request)
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
    return answer(
        PreceptorError(f"Something went wrong here. The log has it under request id {_request_id(request)}"),
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
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1")[:100] for part in _keys(path, body)) or "/"


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


def _message(entry: Mapping[str, Any]) -> str:
    if entry["type"] == "missing" and tuple(entry["loc"]) == ("body",):
        return "the body is missing; send a JSON object with Content-Type: application/json"
    message = str(entry["msg"]).removeprefix("Value error, ")
    return message[:500]
