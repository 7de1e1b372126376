"""Requests: valid ones of every route, and the ways in which their line, headers and bodies are spoilt.

An input has a `head` (method, path, query and headers as JSON, one character a byte) and a `body`.
"""

import json
from random import Random
from typing import Any, Final
from urllib.parse import quote

from tests.integration.api.seeds import predictions
from tests.unit.ingest.sample_files import archive, jsonl, npz, picture, table_csv

from . import probe_inputs
from .byte_mutations import damaged, noise
from .case import Files
from .json_mutations import NUMBERS, STRINGS, spoilt, text_of

Head = dict[str, Any]
_JSON: Final = [["content-type", "application/json"]]
_RAW: Final = [["content-type", "application/octet-stream"]]
_LABELS: Final = {"labels": ["cat", "dog", "猫", "قطة", "e\u0301t\u00e9"]}
_ZOO: Final[list[Any]] = [{"name": "zoo", "labels": ["lion", "wolf"]}]
_ONNX: Final = {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 4}}
_PICTURES: Final = {"modality": "image", "size": [32, 32], "mean": [1.5], "std": [2]}
_BODIES: Final[dict[str, list[Any]]] = {
    "/v1/label-sets": [
        _LABELS,
        {**_LABELS, "prior": [1, 2, 3, 4, 5.5], "descriptions": {"cat": "A small animal"}},
        {**_LABELS, "embeddings": [[1.0, 0.5]] * 5},
    ],
    "/v1/teachers": [
        {"name": "pets", "modality": "features", **_LABELS, "source": _ONNX, "tags": ["a"], "accuracy": 0.5},
        {"name": "p", "modality": "image", **_LABELS, "source": {"kind": "onnx", "preprocessing": _PICTURES}},
        {"name": "h", "modality": "text", "source": {"kind": "hub", "repository": "a/b", "revision": "0" * 40}},
        {"name": "b", "modality": "text", **_LABELS, "source": {"kind": "predictions"}},
    ],
    "/v1/recommendations": [
        {"student": _LABELS, "candidates": _ZOO},
        {"student": "{label_set}", "candidates": _ZOO, "mode": "balanced", "method": "label_transport"},
        {"probe": "{probe}", "method": "leep", "filter": {"ids": ["{teacher}"], "tags": ["a"], "modality": "features"}},
        {
            "student": _LABELS,
            "candidates": _ZOO,
            "pair_costs": [{"teacher": "lion", "student": "cat", "cost": 0}],
        },
    ],
    "/v1/distillations": [
        {"probe": "{probe}", "teachers": ["{teacher}"], "student": {"kind": "builtin", "name": "mlp"}},
        {"probe": "{probe}", "teachers": ["{teacher}"], "loss": {"name": "transport", "weight": 0.5, "eps": 0.1}},
        {"probe": "{probe}", "recommendation": "{done}", "loss": {"name": "ridge_map"}},
    ],
}
_LISTS: Final = ("label-sets", "teachers", "probes", "recommendations", "distillations", "jobs", "students", "audit")
_ONES: Final = (
    "/v1/label-sets/{label_set}",
    "/v1/teachers/{teacher}",
    "/v1/probes/{probe}",
    "/v1/recommendations/{done}",
    "/v1/distillations/{done}",
    "/v1/jobs/{done}",
    "/v1/jobs/{queued}",
    "/v1/students/{student}",
    "/v1/students/{student}/artifacts/model.onnx",
    "/v1/jobs/{done}/events",
    "/health/live",
    "/health/ready",
    "/version",
    "/metrics",
    "/openapi.json",
    "/docs",
)


def json_seeds() -> list[Files]:
    """Requests with JSON bodies."""
    found = [files_of("POST", path, _JSON, body) for path, bodies in _BODIES.items() for body in bodies]
    found.append(files_of("PATCH", "/v1/teachers/{teacher}", _JSON, {"name": "x", "tags": ["a"], "accuracy": None}))
    found.append(files_of("POST", "/v1/students/{student}/promote", _JSON, {"name": "promoted"}))
    return found


def upload_seeds() -> list[Files]:
    """Requests with files as bodies."""
    made = {
        "npz": npz(features=[[1.0, 2.0], [3.0, 4.0]], labels=["a", "b"]),
        "zip": archive({"a/1.png": picture(), "b/2.png": picture(1)}),
        "jsonl": jsonl(["one", "two"], ["a", "b"]),
        "csv": table_csv(["one", "two"], [0, 1]),
        "parquet": probe_inputs.parquet_seeds()[2],
    }
    found = [files_of("POST", "/v1/probes", _RAW, content, f"filename=a.{kind}") for kind, content in made.items()]
    found.append(files_of("POST", "/v1/probes", _RAW, made["csv"], "format=csv&labels=a&labels=" + quote("猫")))
    found.append(files_of("PUT", "/v1/teachers/{box}/predictions/{probe}", _RAW, predictions(), "values=logits"))
    found.append(files_of("PUT", "/v1/teachers/{teacher}/files/model.onnx", _RAW, b"onnx"))
    return found


def plain_seeds() -> list[Files]:
    """Requests without a body."""
    found = [files_of("GET", f"/v1/{name}", [], b"", "limit=2") for name in _LISTS]
    found += [files_of("GET", path, [], b"") for path in _ONES]
    found += [files_of("DELETE", path, [], b"") for path in ("/v1/probes/{none}", "/v1/teachers/{none}")]
    found += [
        files_of("POST", path, [], b"") for path in ("/v1/jobs/{none}/cancel", "/v1/teachers/{teacher}/validation")
    ]
    return found


def files_of(method: str, path: str, headers: list[list[str]], body: Any, query: str = "") -> Files:
    """A request as an input."""
    head = {"method": method, "path": path, "query": query, "headers": headers}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"head": json.dumps(head).encode(), "body": content}


_NAMED_HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "range": (
        "bytes=0-0",
        "bytes=-1",
        "bytes=-0",
        "bytes=5-",
        "bytes=9999999999999999999-",
        "bytes=1-0",
        "bytes=0-1,4-5",
        "bytes=\u0663-\u0664",
        "bytes=-9999999999999999999",
        "items=0-1",
        "bytes=",
        "bytes=0-" + "9" * 150,
    ),
    "if-range": ('"x"', 'W/"x"', "Wed, 21 Oct 2015 07:28:00 GMT"),
    "if-none-match": ("*", '"x"', 'W/"x", "y"', '"', ",,,", '"' + "a" * 1900),
    "if-match": ("*", '"x"', '"', "W/"),
    "prefer": (
        "wait=0",
        "wait=1e9",
        "wait=-1",
        "wait=nan",
        "respond-async",
        "wait=0.01",
        "wait=" + "9" * 400,
        "wait=\u0663",
    ),
    "idempotency-key": ("a", "", "é", "k" * 300, '"quoted"', "\x7f", "a b"),
    "authorization": ("Bearer x", "Bearer", "Basic !!!", "Bearer " + "k" * 5000, "\xff"),
    "content-type": (
        "text/plain",
        "application/json; charset=utf-16",
        "application/x+json",
        "multipart/form-data",
        "\xff",
        "",
    ),
    "content-length": ("-1", "1e3", "99999999999999999999", "0", "\u0663", "5, 5"),
    "content-encoding": ("gzip", "identity", "br, gzip", "\xff"),
    "accept": ("text/event-stream", "*/*;q=x", "image/png", "application/json;q=0", "\xff"),
    "last-event-id": ("0", "-1", "1-0", "x", "9" * 100, "\xff", "0-0-0"),
    "x-request-id": ("ok", "\r\nX: y", "a" * 101, "\xff"),
    "host": ("", "x", "a" * 5000, "\xff", "[::1"),
    "traceparent": ("00-0-0-0", "x"),
    "x-forwarded-for": ("x", "1.1.1.1, \xff"),
    "cookie": ("a=b", ";;;\xff"),
    "origin": ("null", "http://x"),
}
_QUERY_NAMES: Final = (
    "cursor",
    "limit",
    "status",
    "kind",
    "tag",
    "modality",
    "filename",
    "format",
    "labels",
    "values",
    "after",
    "ids",
    "x",
    "recommendation",
    "student",
    "probe",
    "",
)
_CURSORS: Final = (
    "0",
    "-1",
    "1-0",
    "9" * 30,
    "tch_" + "0" * 26,
    "AAAA",
    "====",
    "%00",
    "%ff",
    "%F0%9F%90%88",
    "a" * 300,
    "0-0",
    "nan",
    "inf",
    "1e999",
    "zzzz",
    "[",
    "(",
    "%2e%2e%2f",
    "+",
    "%E2%80%AE",
)
_SEGMENTS: Final = (
    "..",
    ".",
    "",
    "%2e%2e",
    "%00",
    "%ff",
    "%F0%9F%90%88",
    "a" * 5000,
    "tch_",
    "tch_" + "z" * 26,
    "rec_" + "0" * 26,
    "TCH_" + "0" * 26,
    "*",
    "model.onnx",
    "config.json",
    "x.pkl",
    "%0a",
    "tch_" + "0" * 26 + "%0a",
    "{teacher}",
    "{probe}",
    "{done}",
    "{student}",
    "{queued}",
    "\u0660" * 26,
    "%ED%A0%80",
    "validation",
    "files",
    "v1",
)


def _spoil_head(head: Head, rng: Random) -> None:
    kind = rng.randrange(10)
    if kind == 0:
        head["method"] = rng.choice(
            ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get", "")
        )
    elif kind in (1, 2):
        parts = head["path"].split("/")
        place = rng.randrange(len(parts))
        parts[place : place + rng.choice((0, 1, 1, 1))] = [rng.choice(_SEGMENTS)]
        head["path"] = rng.choice(("/", "/", "/", "")) + "/".join(parts).lstrip("/")
    elif kind in (3, 4, 5):
        values = (*_CURSORS, *map(str, NUMBERS), *(quote(text, errors="replace")[:3000] for text in STRINGS))
        pair = f"{rng.choice(_QUERY_NAMES)}={rng.choice(values)}"
        head["query"] = rng.choice((pair, f"{head['query']}&{pair}", pair * 3, pair + ("&" + pair) * 500))
    elif kind == 6:
        name = rng.choice(list(_NAMED_HEADERS))
        head["headers"] = [pair for pair in head["headers"] if pair[0] != name]
    else:
        name = rng.choice(list(_NAMED_HEADERS))
        value = rng.choice(_NAMED_HEADERS[name])
        if rng.random() < 0.15:
            value = noise(rng).decode("latin1").translate({0: None, 10: None, 13: None})[:500]
        head["headers"] = [*head["headers"], [name, value.encode().decode("latin1")]]


def _with_head(files: Files, rng: Random, times: int) -> Head:
    head: Head = json.loads(files["head"])
    for _ in range(times):
        _spoil_head(head, rng)
    return head


def spoil_json_request(seeds: list[Files], rng: Random) -> Files:
    """A spoilt JSON body; now and then under spoilt headers."""
    files = rng.choice(seeds)
    head = _with_head(files, rng, rng.choice((0, 0, 0, 1, 2)))
    kind = rng.randrange(20)
    body = files["body"] if kind == 0 else noise(rng) if kind == 1 else _spoilt_body(files["body"], rng)
    return {"head": json.dumps(head).encode(), "body": body}


def _spoilt_body(body: bytes, rng: Random) -> bytes:
    def extra(rng: Random) -> Any:
        return rng.choice(
            ("{teacher}", "{probe}", "{label_set}", "{done}", "{student}", ["a"] * 20_001, "l" * 201, ["x", "x"])
        )

    return text_of(spoilt(json.loads(body), rng, extra), rng)


def spoil_upload(seeds: list[Files], rng: Random) -> Files:
    """Damaged files, and spoilt headers and queries."""
    files = rng.choice(seeds)
    head = _with_head(files, rng, rng.choice((0, 1, 1, 2)))
    others = [other["body"] for other in seeds]
    body = rng.choice(
        (files["body"], damaged(files["body"], rng, others), damaged(files["body"], rng), rng.choice(others))
    )
    return {"head": json.dumps(head).encode(), "body": body}


def spoil_plain(seeds: list[Files], rng: Random) -> Files:
    """Spoilt paths, cursors, ids and headers."""
    files = rng.choice(seeds)
    head = _with_head(files, rng, rng.choice((1, 1, 2, 3)))
    return {"head": json.dumps(head).encode(), "body": noise(rng) if rng.random() < 0.1 else b""}
