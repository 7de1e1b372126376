"""Answers: JSON documents with entity tags, pages with links."""

from typing import Annotated, TypeVar

from fastapi import Header, Query, Request, Response
from pydantic import BaseModel

from preceptor.contract.page import Page
from service.actions.entity_tag import entity_tag

ItemT = TypeVar("ItemT", bound=BaseModel)

Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before")]
IfNoneMatch = Annotated[str | None, Header(max_length=2000)]


def document(model: BaseModel | bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer with an entity tag."""
    body = model if isinstance(model, bytes) else model.model_dump_json().encode()
    return Response(
        body,
        status_code=status,
        media_type="application/json",
        headers={"ETag": entity_tag(body), **(headers or {})},
    )


def conditional(model: BaseModel | bytes, if_none_match: str | None) -> Response:
    """A JSON answer, or 304 where the caller has this version."""
    response = document(model)
    if if_none_match is not None:
        tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
        if "*" in tags or response.headers["ETag"] in tags:
            return Response(status_code=304, headers={"ETag": response.headers["ETag"]})
    return response


def page(request: Request, items: list[ItemT], cursor: str | None) -> Response:
    """A page of a list, with a `Link` to the next."""
    headers = {}
    if cursor is not None:
        following = request.url.include_query_params(cursor=cursor)
        headers["Link"] = f'<{following}>; rel="next"'
    body = Page[BaseModel](items=list[BaseModel](items), next=cursor).model_dump_json(serialize_as_any=True)
    return Response(body, media_type="application/json", headers=headers)
