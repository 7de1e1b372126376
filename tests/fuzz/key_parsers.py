"""Requests with keys of every scope, with one that has expired, with none; and answers kept for Idempotency-Keys.

What a key may do is judged here by the request that was answered, not by the rule that the service goes by.
"""

import hashlib
import json
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final, cast
from urllib.parse import unquote

from starlette.responses import Response

from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.problem import MEDIA_TYPE, Problem
from service.core.jobs.idempotency import StoredAnswer
from service.core.redis import keys
from service.core.state import State
from service.middleware.authentication import OPEN, PAGE

from . import http_inputs as inputs
from .byte_mutations import damaged
from .case import SOURCE, Files, LeftBehind, Outcome, Parser, Reached, ServerError, single
from .http_parsers import Application
from .json_mutations import NUMBERS, STRINGS, spoilt, text_of

_SCOPES: Final = ("read", "write", "admin")
_KEYS: Final = (*_SCOPES, "expired", "none", "wrong", "doubled")
_OPEN: Final = OPEN | PAGE


class Guarded(Application):
    """An application that asks for keys."""

    def __init__(self) -> None:
        super().__init__(auth="on")
        state: State = self.app.state.preceptor
        for scope in _SCOPES:
            self.names[f"{{key:{scope}}}"] = self.wait(state.api_keys.mint(scope, scope))[1]
        expired = state.api_keys.mint("expired", "admin", lifetime=timedelta(seconds=-1))
        self.names["{key:expired}"] = self.wait(expired)[1]
        self.names["{key:wrong}"] = self.names["{key:admin}"][:-2] + "__"


@cache
def _application() -> Guarded:
    return Guarded()


def _seeds() -> list[Files]:
    made = [*inputs.json_seeds(), *inputs.upload_seeds(), *inputs.plain_seeds(), *_webhook_seeds()]
    return [_with_key(files, "admin") for files in made]


def _webhook_seeds() -> list[Files]:
    body = {"url": "https://8.8.8.8/hook", "events": ["job.succeeded"]}
    one = "/v1/webhooks/{webhook}"
    asked: list[tuple[str, str, Any]] = [
        ("POST", "/v1/webhooks", body), ("GET", "/v1/webhooks", b""), ("GET", one, b""),
        ("GET", f"{one}/deliveries", b""), ("POST", f"{one}/deliveries/{{done}}", {}), ("DELETE", f"{one}x", b""),
    ]  # fmt: skip
    return [inputs.files_of(method, path, [["content-type", "application/json"]], body) for method, path, body in asked]


def _with_key(files: Files, key: str) -> Files:
    head = json.loads(files["head"])
    head["headers"] = [pair for pair in head["headers"] if pair[0] != "authorization"]
    if key == "doubled":
        head["headers"] += [["authorization", "Bearer {key:read}"], ["authorization", "Bearer {key:admin}"]]
    elif key != "none":
        head["headers"].append(["authorization", f"Bearer {{key:{key}}}"])
    return {**files, "head": json.dumps(head).encode(), "key": key.encode()}


def _spoil(seeds: list[Files], rng: Random) -> Files:
    """A good or a spoilt request, with any key; its method and path may be written in other ways."""
    files = rng.choice(seeds)
    kind = rng.randrange(4)
    if kind == 1:
        files = {**files, **inputs.spoil_plain([files], rng), "body": files["body"]}
    elif kind == 2 and files["body"].startswith(b"{"):
        files = {**files, **inputs.spoil_json_request([files], rng)}
    head = json.loads(files["head"])
    head["method"] = rng.choice((head["method"],) * 8 + ("DELETE", "POST", "GET", "get", "HEAD", "PUT", "delete"))
    if rng.random() < 0.25:
        head["path"] = rng.choice(_SPELLINGS)(head["path"], rng)
    for name in ("x-http-method-override", "x-original-url", "x-forwarded-prefix", "x-method-override"):
        if rng.random() < 0.03:
            head["headers"].append([name, rng.choice(("DELETE", "/health/live", "GET"))])
    return _with_key({**files, "head": json.dumps(head).encode()}, rng.choice(_KEYS))


def _doubled(path: str, rng: Random) -> str:
    return path.replace("/", rng.choice(("//", "/./", "/x/../", "\\", "/%2e/", ";/")), 1)


def _encoded(path: str, rng: Random) -> str:
    if not path or "{" in path:
        return path + "/"
    place = rng.randrange(len(path))
    return f"{path[:place]}%{ord(path[place]) % 256:02x}{path[place + 1 :]}"


def _around(path: str, rng: Random) -> str:
    before = rng.choice(("/health/live", "/health/live/..", "/docs", "", "http://x"))
    return before + path + rng.choice(("/", "?", "#", "%00", "%20", "/health/live", ";health", "//", ".json"))


def _upper(path: str, rng: Random) -> str:
    return path.replace("webhooks", rng.choice(("Webhooks", "WEBHOOKS", "webhooks%2f", "%77ebhooks", "webhook\u017f")))


_SPELLINGS: Final = (_doubled, _encoded, _around, _upper)


def _asked(files: Files, folder: Path) -> Reached:
    application = _application()
    before = set(application.staging.iterdir())
    status, headers, body = application.ask({"head": files["head"], "body": files["body"]})
    if extra := set(application.staging.iterdir()) - before:
        raise LeftBehind(f"left in the staging folder: {sorted(path.name for path in extra)[:5]}")
    head = json.loads(files["head"])
    key, method, path = files["key"].decode(), head["method"], unquote(head["path"])
    told = f"{method} {path[:60]} with the key {key}: {status}"
    if status >= 500 and status not in (503, 507):
        raise ServerError(told)
    if path in _OPEN:
        return Reached("accepted" if status < 400 else "refused", "open to all")
    if status < 400:
        _may(key, method, path, told)
        return Reached("accepted", f"let in with {key}")
    if method != "HEAD" and body:
        assert headers.get(b"content-type", b"").startswith(MEDIA_TYPE.encode()), told
        assert Problem.model_validate_json(body).status == status
    if key not in _SCOPES:
        early = {400, 401, 413, 414, 421, 431}
        if any(name in ("origin", "host") for name, _ in head["headers"]):
            early.add(403)  # what another web site asks for is refused whoever asks
        assert status in early, f"{told}: who has no key learns more than that one is needed"
    return Reached("refused", "not known" if status == 401 else "not allowed" if status == 403 else f"wrong, {key}")


def _may(key: str, method: str, path: str, told: str) -> None:
    """Raise where what was done is beyond the key."""
    assert key in _SCOPES, f"{told}: without a key that is good"
    if "/webhooks" in path.lower():
        assert key == "admin", f"{told}: webhooks are the operator's"
    if method not in ("GET", "HEAD", "OPTIONS"):
        assert key != "read", f"{told}: a key for reading writes"
    if method == "DELETE":
        assert key == "admin", f"{told}: a key deletes that may not"


_ANSWER: Final = {
    "status": 201,
    "headers": {"location": "/v1/teachers/x", "etag": '"a"', "content-type": "application/json"},
    "body": '{"id": "x"}',
}


def _spoil_record(seeds: list[Files], rng: Random) -> Files:
    def part(rng: Random) -> Any:
        return rng.choice(
            (99, 600, 204, 304, True, "201", {"x\r\ny": "z"}, {"é": "é"}, {"a": 1}, *STRINGS, *NUMBERS[:9])
        )

    if rng.random() < 0.2:
        return {SOURCE: damaged(seeds[0][SOURCE], rng)}
    return {SOURCE: text_of(spoilt(_ANSWER, rng, part), rng)}


def _record(files: Files, folder: Path) -> Outcome:
    """A kept answer is given again as it was, or the request is done again under its id."""
    application = _application()
    state: State = application.app.state.preceptor
    scope, id = new_id(TEACHER), new_id(TEACHER)
    text = files[SOURCE].decode("utf-8", "replace")

    async def asked() -> Any:
        await state.idempotency.begin(scope, "key", "same", id)
        await state.idempotency.complete(scope, "key", id, StoredAnswer(200, {}, None))
        entry = keys.idempotency(hashlib.sha256(f"{scope}\0key".encode()).hexdigest())
        await cast(Any, state.client.hset(entry, "answer", text))
        found = await state.idempotency.begin(scope, "key", "same", new_id(TEACHER))
        await cast(Any, state.client.delete(entry))
        return found

    found = application.wait(asked())
    assert found.id == id
    if found.answer is None:
        assert found.state == "resumed"
        return "refused"
    assert found.state == "done"
    Response(found.answer.body, found.answer.status, found.answer.headers)
    return "accepted"


PARSERS: Final = [
    Parser("http keys", _seeds, _spoil, _asked),
    Parser("idempotency record", lambda: single([json.dumps(_ANSWER).encode()]), _spoil_record, _record),
]
