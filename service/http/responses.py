"""Answers: JSON documents with entity tags, pages with links."""

from typing import Annotated, Any, Final, TypeVar

from fastapi import Header, Query, Request, Response
from pydantic import BaseModel

from preceptor.contract.page import Page
from preceptor.contract.validation_messages import CURSOR_PATTERN
from service.http.entity_tags import entity_tag, passes_if_none_match

ItemT = TypeVar("ItemT", bound=BaseModel)

Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page")]
Cursor = Annotated[str | None, Query(max_length=200, pattern=CURSOR_PATTERN, description="`next` of the page before")]
IF_NONE_MATCH_LENGTH: Final = 2000
IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        max_length=IF_NONE_MATCH_LENGTH,
        description="An `ETag` of an earlier answer, or a list of them: 304 without a body where nothing has changed",
    ),
]
REVALIDATED: Final = "private, no-cache"
"""A cache may keep an answer for its owner, and asks whether it still holds each time."""


def document(
    model: BaseModel | bytes, *, status: int = 200, headers: dict[str, str] | None = None, tag: str = ""
) -> Response:
    """A JSON answer with an entity tag, which is made where it is not given."""
    body = model if isinstance(model, bytes) else model.model_dump_json().encode()
    return Response(
        body,
        status_code=status,
        media_type="application/json",
        headers={"ETag": tag or entity_tag(body), "Cache-Control": REVALIDATED, **(headers or {})},
    )


def conditional(model: BaseModel | bytes, if_none_match: str | None, tag: str = "") -> Response:
    """A JSON answer, or 304 where the caller has this version."""
    response = document(model, tag=tag)
    tag = response.headers["ETag"]
    if passes_if_none_match(if_none_match, tag):
        return response
    return Response(status_code=304, headers={"ETag": tag, "Cache-Control": REVALIDATED})


def page(request: Request, items: list[ItemT], cursor: str | None) -> Response:
    """A page of a list, with a `Link` to the next."""
    headers = {"Cache-Control": REVALIDATED}
    if cursor is not None:
        # A reference without scheme and host: behind a proxy the service does not know by which name it is called.
        following = request.url.include_query_params(cursor=cursor)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    # Any: each item is written as its own class says, its moments too, so that it reads here as it does alone.
    body = Page[Any](items=list[Any](items), next=cursor).model_dump_json()
    return Response(body, media_type="application/json", headers=headers)
