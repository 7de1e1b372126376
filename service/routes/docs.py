"""`/docs`: the HTTP reference as a page, Swagger UI from the installation itself and from nowhere else.

The page and its files hold nothing of the deployment and need no key: a browser cannot send one with an address. The
OpenAPI document that the page asks for needs one as everything else does; the page then asks its reader.
"""

from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response

from service.core.errors import NotFound
from service.http.entity_tags import entity_tag, passes_if_none_match
from service.http.responses import REVALIDATED, IfNoneMatch
from service.http.strict_route import StrictRoute

router = APIRouter(prefix="/docs", tags=["docs"], route_class=StrictRoute, include_in_schema=False)

_OURS: Final = Path(__file__).with_name("pages")
_SWAGGER_UI: Final = _OURS / "swagger-ui"
_SCRIPT: Final = "text/javascript; charset=utf-8"
_STYLE: Final = "text/css; charset=utf-8"
_FILES: Final = {"page.js": _SCRIPT, "swagger-ui-bundle.js": _SCRIPT, "swagger-ui.css": _STYLE}
_HEADERS: Final = {
    "Cache-Control": REVALIDATED,
    # Swagger UI writes styles into its elements; nothing else comes from elsewhere than this service.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@router.get("")
async def show_docs(if_none_match: IfNoneMatch = None) -> Response:
    """The page."""
    return _answer(_page(), "text/html; charset=utf-8", if_none_match)


@router.get("/{name}")
async def show_docs_file(name: str, if_none_match: IfNoneMatch = None) -> Response:
    """A file of the page."""
    if name not in _FILES:
        raise NotFound("There is no such file here. The page is at /docs")
    return _answer(_file(name), _FILES[name], if_none_match)


def _answer(body: bytes, kind: str, if_none_match: str | None) -> Response:
    tag = entity_tag(body)
    headers = {**_HEADERS, "ETag": tag}
    if not passes_if_none_match(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)


@cache
def _page() -> bytes:
    return (_OURS / "docs.html").read_bytes()


@cache
def _file(name: str) -> bytes:
    return (_OURS / "docs.js" if name == "page.js" else _SWAGGER_UI / name).read_bytes()
