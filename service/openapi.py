"""The OpenAPI document: what FastAPI derives from the routes, and what it cannot know (headers, tags, problems)."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from preceptor.contract.jobs import JobEvent
from preceptor.contract.problem import MEDIA_TYPE, Problem

from .http.problems import problems
from .middleware.authentication import OPEN, READING

SUMMARY: Final = "Ranks a model zoo for a new classification task and distils the best teachers into the student"
TAGS: Final = [
    {"name": "label sets", "description": "Ordered class names, known by their content"},
    {"name": "teachers", "description": "The zoo: pre-trained classifiers with named labels"},
    {"name": "probes", "description": "Samples of the student's data, known by their content"},
    {"name": "recommendations", "description": "Jobs that rank the zoo for a student"},
    {"name": "distillations", "description": "Jobs that train a student from teachers"},
    {"name": "jobs", "description": "All jobs: where they stand, their events, their cancellation"},
    {"name": "audit", "description": "What was recommended, and what distilling from it gained"},
    {"name": "students", "description": "Distilled students, their files, their promotion to teachers"},
    {"name": "webhooks", "description": "Addresses that hear of the end of jobs"},
    {"name": "health", "description": "For operators: liveness, readiness, metrics, versions"},
]
_SECURITY: Final = (
    "An API key, created by `preceptor-server keys create`, or a token of the issuer that the operator has set; where "
    "the service asks for one"
)
_UNKNOWN_HOST: Final = "`Host` is no name of this service; only while it asks for no API keys"
_CROSS_SITE: Final = "a page of another web site asks for a change; only while no API keys are asked for"
_MODELS: Final = {"Problem": Problem, "JobEvent": JobEvent}
_SCHEMAS: Final = "#/components/schemas/{model}"
_TAG: Final = r'^"[\x21\x23-\x7e]+"$'
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": {
        "description": "The request's id; the logs and a problem's `instance` carry the same",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,100}$"},
    },
    "ETag": {
        "description": "Version of the document or file; send it back as `If-None-Match` or `If-Match`",
        "required": True,
        "schema": {"type": "string", "pattern": _TAG},
    },
    "Location": {
        "description": "Where the resource is",
        "required": True,
        "schema": {"type": "string", "pattern": "^/v1/"},
    },
    "Link": {
        "description": '`<...>; rel="next"`: the next page, where there is one',
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next try",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "How to send a key",
        "required": True,
        "schema": {"type": "string"},
    },
    "Content-Range": {
        "description": "Which bytes of how many",
        "required": True,
        "schema": {"type": "string", "pattern": r"^bytes (\d+-\d+|\*)/\d+$"},
    },
    "Idempotency-Replayed": {
        "description": "`true` where this is the answer that the Idempotency-Key got before",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Preference-Applied": {
        "description": "`wait=N`: how long the service was ready to wait",
        "schema": {"type": "string"},
    },
}


def install(app: FastAPI) -> None:
    """Serve the completed document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes, tags=TAGS
            )
            _complete(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


def _complete(document: dict[str, Any]) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name, model in _MODELS.items():
        schema = model.model_json_schema(ref_template=_SCHEMAS, mode="serialization")
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = schema
    # FastAPI's own error models: ours are problem documents.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    components["headers"] = _HEADERS
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": _SECURITY}}
    document["security"] = [{"key": []}, {}]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", ()):
                _without_null(parameter)
            if "requestBody" in operation:
                operation["responses"]["408"] = problems(408, every=())[408]
            if path not in OPEN:
                _by_host(method, operation["responses"])
            for status, response in operation["responses"].items():
                for media in response.get("content", {}).values():
                    if "itemSchema" in media:  # A stream has no schema as a whole; FastAPI adds that of a text.
                        media.pop("schema", None)
                headers = _headers_of(path, method, int(status), response, operation)
                response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}


def _by_host(method: str, responses: dict[str, Any]) -> None:
    """What `known_hosts` answers, before any route is looked for."""
    refused = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS.format(model="Problem")}}}
    responses["421"] = {"description": _UNKNOWN_HOST, "content": refused}
    if method.upper() not in READING:
        responses["403"]["description"] += f"; or {_CROSS_SITE}"


def _without_null(parameter: dict[str, Any]) -> None:
    """A parameter may be left out; there is no way to send `null` in a query or a header."""
    schema = parameter["schema"]
    kept = [form for form in schema.get("anyOf", ()) if form.get("type") != "null"]
    if len(kept) == 1:
        del schema["anyOf"]
        schema.update(kept[0])


def _headers_of(path: str, method: str, status: int, response: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    content = response.get("content", {})
    names = ["X-Request-Id"]
    if MEDIA_TYPE in content:
        names += ["Retry-After"] * (status in (429, 503, 507)) + ["Content-Range"] * (status == 416)
        names += ["WWW-Authenticate"] * (status == 401)
        return names
    if not path.startswith("/v1/") or "text/event-stream" in content:
        return names
    page = method == "get" and any(parameter["name"] == "cursor" for parameter in operation.get("parameters", ()))
    taken = {parameter["name"] for parameter in operation.get("parameters", ())}
    names += ["ETag"] * (status != 204 and not page)
    names += ["Link"] * page
    names += ["Location"] * (method == "post" and (status in (201, 202)))
    names += ["Retry-After"] * (status == 202)
    names += ["Content-Range"] * (status == 206)
    names += ["Idempotency-Replayed"] * ("Idempotency-Key" in taken)
    names += ["Preference-Applied"] * ("Prefer" in taken)
    return names
