"""Validation errors in words, for service and SDK alike: what to send in place of types and patterns."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from . import ids
from .distillations import Architecture
from .labels import LabelSetBody
from .teachers import FileName, HubSource, Name, Tag, TimmSource
from .webhooks import URL_PATTERN

KEY_PATTERN: Final = r"^[\x21-\x7e]+$"
"""What an Idempotency-Key consists of."""
EVENT_ID_PATTERN: Final = r"^[0-9]{1,19}(-[0-9]{1,19})?$"
"""Ids of events; 19 digits always fit into the 64 bits that Redis has for each half."""
CURSOR_PATTERN: Final = r"^[A-Za-z0-9_-]+$"


def _pattern(type_: Any) -> str:
    return str(TypeAdapter(type_).json_schema()["pattern"])


def _property(model: Any, name: str) -> str:
    return str(model.model_json_schema()["properties"][name]["pattern"])


_NAME: Final = "it must not contain control characters"


@cache
def _words() -> dict[str, str]:
    """A message for each pattern of the contract. Made when it is first needed: building the schemas takes a while."""
    return {
        _pattern(ids.TeacherId): "that is not the id of a teacher (tch_...)",
        _pattern(ids.LabelSetId): "that is not the id of a label set (lbl_...)",
        _pattern(ids.ProbeId): "that is not the id of a probe (prb_...)",
        _pattern(ids.RecommendationId): "that is not the id of a recommendation (rec_...)",
        _pattern(ids.DistillationId): "that is not the id of a distillation (dst_...)",
        _pattern(ids.StudentId): "that is not the id of a student (stu_...)",
        _pattern(ids.WebhookId): "that is not the id of a webhook (whk_...)",
        _pattern(ids.MessageId): "that is not the id of a message (msg_...)",
        _pattern(ids.JobId): "that is not the id of a job (rec_..., dst_... or val_...)",
        _pattern(FileName): "that is not a file name here: letters, digits, '.', '_' and '-', at most 128, the first a "
        "letter or digit",
        _pattern(Name): _NAME,
        _pattern(Tag): "a tag consists of letters, digits, spaces and . _ : / -, the first a letter or digit",
        _pattern(Architecture): "that is not the name of an architecture: letters, digits, '_', '.' and '-'",
        _property(TimmSource, "architecture"): "that is not the name of an architecture: letters, digits, '_' and '.'",
        _property(HubSource, "repository"): "that is not the name of a repository: owner/name",
        _property(
            HubSource, "revision"
        ): "that is not a full commit hash (40 hexadecimal digits): a branch or a tag can change under you",
        URL_PATTERN: "that is not an address for a webhook: http:// or https://, a host name in ASCII or an address, "
        "and maybe a port, a path and a query; no user name or password, and no fragment",
        KEY_PATTERN: "a key is 1 to 255 printable ASCII characters without spaces; a UUID does well",
        EVENT_ID_PATTERN: "that is not the id of an event; take it from the stream, or leave it out to start at the "
        "first",
        CURSOR_PATTERN: "that is not a cursor; take it from a page's `next`",
    }


_TYPES: Final = {
    "model_type": "it must be a JSON object",
    "model_attributes_type": "it must be a JSON object",
    "dict_type": "it must be a JSON object",
    "list_type": "it must be a list",
    "tuple_type": "it must be a list",
    "string_type": "it must be a string",
    "bool_type": "it must be true or false",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a finite number",
}
_BOUNDS: Final = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_LABEL_SET: Final = 'it must be a label set, {"labels": ["cat", "dog"]}, or the id of a registered one (lbl_...)'


def said(entry: Mapping[str, Any]) -> str:
    """The message of one validation error, for a person."""
    kind = str(entry["type"])
    context: Mapping[str, Any] = entry.get("ctx") or {}
    if kind == "missing":
        if tuple(entry["loc"]) == ("body",):
            return "the body is missing; send a JSON object with Content-Type: application/json"
        return "it is missing, and it is needed"
    if kind == "extra_forbidden":
        return "there is no such option here; look for a misspelling"
    if kind == "string_pattern_mismatch" and (words := _words().get(str(context.get("pattern")))):
        return words
    if kind == "union_tag_not_found":
        return f"{context['discriminator']} is missing; it says which form this has"
    if kind == "union_tag_invalid":
        return (
            f"{ascii(context['tag'])[:60]} is not a value of {context['discriminator']}; "
            f"use one of {context['expected_tags']}"
        )
    if kind == "model_type" and context.get("class_name") == LabelSetBody.__name__ and len(entry["loc"]) > 1:
        return _LABEL_SET
    if kind in _TYPES:
        return _TYPES[kind]
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"it must be {words} {context[name]:,}"
    if kind in ("literal_error", "enum"):
        return f"it must be {context['expected']}"
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        return _length(kind, entry, context)
    message = str(entry["msg"]).removeprefix("Value error, ")
    return message[:500]


def _length(kind: str, entry: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    if kind == "string_too_short" and context["min_length"] == 1:
        return "it must not be empty"
    things = "characters" if kind.startswith("string") else "entries"
    size = len(entry["input"])
    count = f"it has {size:,} {things if size != 1 else 'entry' if things == 'entries' else 'character'}"
    if kind.endswith("long"):
        return f"{count}; at most {context['max_length']:,} are taken"
    why = "; with one class there is nothing to tell apart" if entry["loc"][-1] == "labels" else ""
    return f"{count}; at least {context['min_length']:,} are needed{why}"
