"""Entity tags and the conditions on them (RFC 9110, sections 8.8.3 and 13.1)."""

import hashlib
import re
from typing import Final

from service.core.errors import InvalidRequest

_TAG: Final = r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"'
_LIST: Final = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")


def entity_tag(body: bytes) -> str:
    """The strong entity tag of a document with this body, quoted as HTTP wants it."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def passes_if_none_match(header: str | None, tag: str) -> bool:
    """Whether `If-None-Match` lets the request through: no tag in it is this one, compared weakly.

    What is no list of entity tags matches nothing: the caller gets the whole answer.
    """
    if header is None:
        return True
    return header.strip() != "*" and tag not in [f'"{found[1]}"' for found in _found(header)]


def passes_if_match(header: str | None, tag: str) -> bool:
    """Whether `If-Match` lets the request through: one tag in it is this one, compared strongly.

    Raises
    ------
    InvalidRequest
        It is not a list of entity tags.
    """
    if header is None or header.strip() == "*":
        return True
    found = _found(header)
    if not found:
        raise InvalidRequest("If-Match must be the ETag of an answer, with its double quotes, or a list of them, or *")
    return tag in [f'"{text}"' for weak, text in found if not weak]


def _found(header: str) -> list[tuple[str, str]]:
    return re.findall(_TAG, header) if _LIST.fullmatch(header) else []
