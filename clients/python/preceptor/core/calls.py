"""A call: one request to the service with the way to read its answer; and the procedure that carries it out."""

import json
import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..contract.problem import Problem
from ..contract.versions import stored_form
from ..errors import PreceptorError, ServiceUnreachableError, UnexpectedAnswerError, invalid, status_error
from .effects import Exchange, Procedure, Reply, Request, Sleep
from .files.transfer import Upload
from .retries import delay
from .settings import Settings

T = TypeVar("T")
Query = Mapping[str, str | int | Iterable[str] | None]


def _succeeded(reply: Reply) -> bool:
    return 200 <= reply.status < 300


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """A request, and how its answer becomes a value.

    Attributes
    ----------
    parse
        Reads an accepted answer; may raise ValidationError or ValueError.
    accept
        Whether an answer is a value rather than a refusal.
    removal
        A 404 to a repeated attempt means that the first one did the work.
    """

    request: Request
    parse: Callable[[Reply], T]
    accept: Callable[[Reply], bool] = _succeeded
    removal: bool = False


def call(
    method: str,
    path: str,
    parse: Callable[[Reply], T],
    *,
    query: Query | None = None,
    body: BaseModel | Mapping[str, Any] | None = None,
    upload: Upload | None = None,
    headers: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
    wait: float | None = None,
) -> Call[T]:
    """Build a call; every POST and PUT receives an Idempotency-Key that stays the same over retries.

    Parameters
    ----------
    wait
        Seconds that the service may take before it answers 202 (`Prefer: wait`, RFC 7240).
    """
    head = dict(headers or {})
    content: bytes | Upload | None = upload
    if body is not None:
        # Without newer fields at their defaults: an older service refuses what it does not know.
        values = stored_form(body, nulls=False)[0] if isinstance(body, BaseModel) else dict(body)
        content = json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
        head["Content-Type"] = "application/json"
    elif upload is not None:
        head["Content-Type"] = "application/octet-stream"
        head["Content-Length"] = str(upload.size)
    if method in ("POST", "PUT"):
        head["Idempotency-Key"] = idempotency_key or uuid.uuid4().hex
    if wait is not None and wait > 0:
        head["Prefer"] = f"wait={math.ceil(wait)}"  # whole seconds: RFC 7240, section 4.3
    request = Request(method=method, path=path, query=_pairs(query or {}), headers=head, content=content)
    return Call(request=request, parse=parse, removal=method == "DELETE")


def at(*segments: str) -> str:
    """The path of a resource; an id from outside cannot leave its segment."""
    if any(not isinstance(segment, str) for segment in segments):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise invalid(f"expected an id, not a {type(segments[-1]).__name__}")
    if not all(segments) or any(segment in (".", "..") for segment in segments):
        raise invalid(f"{segments[-1]!r} is not the id or name of anything")
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


def _pairs(query: Query) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if value is None:
            continue
        several = [str(value)] if isinstance(value, str | int) else list(value)
        pairs += [(name, each) for each in several]
    return tuple(pairs)


def model(kind: Any) -> Callable[[Reply], Any]:
    """Reads a JSON answer as a type of the contract."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    return lambda reply: adapter.validate_json(reply.content)


def nothing(reply: Reply) -> None:
    """Reads an answer that has no content."""


def send(settings: Settings, wanted: Call[T]) -> Procedure[T]:
    """Carry out a call, with retries.

    Raises
    ------
    ServiceUnreachableError, StatusError, UnexpectedAnswerError
    """
    request, attempt = wanted.request, 0
    if "Prefer" in request.headers and request.read_timeout is None:
        held = float(request.headers["Prefer"].removeprefix("wait="))
        request = replace(request, read_timeout=settings.timeout + held)
    while True:
        reply: Reply | None = None
        failure: PreceptorError
        try:
            reply = yield Exchange(request)
        except ServiceUnreachableError as error:
            failure = error
        else:
            assert reply is not None
            if wanted.accept(reply) or (wanted.removal and attempt > 0 and reply.status == 404):
                return _read(settings, wanted, reply)
            failure = refusal(settings, reply)
        seconds = delay(settings, attempt, reply)
        if seconds is None:
            raise failure
        yield Sleep(seconds)
        attempt += 1


def _read(settings: Settings, wanted: Call[T], reply: Reply) -> T:
    try:
        return wanted.parse(reply)
    except (ValidationError, ValueError) as error:
        kind = reply.headers.get("content-type", "no content type")
        raise UnexpectedAnswerError(
            f"{wanted.request.method} {settings.base_url}{wanted.request.path} answered {reply.status} ({kind}) "
            "with something that this SDK cannot read. Is it a Preceptor service of a version that fits this SDK? "
            f"(`preceptor version` shows both) {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"First difference: {'.'.join(str(part) for part in first['loc']) or 'body'}: {first['msg']}"
    return str(error)


def refusal(settings: Settings, reply: Reply) -> PreceptorError:
    """The exception for an answer that is not a success."""
    if reply.status < 400:
        target = reply.headers.get("location", "nowhere")
        return UnexpectedAnswerError(
            f"{settings.base_url} answered {reply.status} and points to {target}; use that address as base URL"
        )
    try:
        problem = Problem.model_validate_json(reply.content)
    except ValidationError:
        try:
            phrase = HTTPStatus(reply.status).phrase
        except ValueError:
            phrase = "Unknown status"
        kind = reply.headers.get("content-type", "no content")
        problem = Problem(
            type="about:blank",
            title=phrase,
            status=reply.status,
            detail=f"{settings.base_url} answered {reply.status} {phrase} ({kind}) without a reason that this SDK "
            "can read; a proxy, or another program, may stand at that address",
        )
    return status_error(problem, reply.headers)
