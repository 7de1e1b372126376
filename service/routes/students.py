"""`/v1/students`: distilled students and their files."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from preceptor.contract.base import Body
from preceptor.contract.distillations import Student
from preceptor.contract.ids import TEACHER, StudentId
from preceptor.contract.page import Page
from preceptor.contract.teachers import Name, Teacher
from service.actions import students as actions, teachers
from service.core.errors import NotFound, RangeNotSatisfiable
from service.core.storage import object_keys
from service.http.dependencies import StateOf
from service.http.entity_tags import passes_if_none_match
from service.http.idempotency import OnceOf
from service.http.problems import problems
from service.http.responses import Cursor, IfNoneMatch, Limit, conditional, document, page
from service.http.strict_route import StrictRoute

router = APIRouter(prefix="/v1/students", tags=["students"], route_class=StrictRoute)
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class PromotionBody(Body):
    """How the new teacher is to be called; the student's name where absent."""

    name: Name | None = None


@router.get("", response_model=Page[Student], responses=problems())
async def list_students(request: Request, state: StateOf, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List students, newest first."""
    return page(request, *await state.students.page(cursor, limit))


@router.get("/{id}", response_model=Student, responses={304: {"description": "Not modified"}, **problems(404)})
async def get_student(id: StudentId, state: StateOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a student and the names of its files."""
    return conditional(await actions.get(state, id), if_none_match)


@router.delete("/{id}", status_code=204, response_model=None, responses=problems(404))
async def delete_student(id: StudentId, state: StateOf) -> Response:
    """Remove a student and its files. A teacher that it was promoted to keeps its own copy."""
    await actions.remove(state, id)
    return Response(status_code=204)


@router.get(
    "/{id}/artifacts/{name}",
    response_class=StreamingResponse,
    responses={
        200: {"content": _BINARY},
        206: {"description": "A part of the file", "content": _BINARY},
        304: {"description": "Not modified"},
        **problems(404, 416),
    },
)
async def download_artifact(
    id: StudentId,
    name: Annotated[str, Path(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")],
    state: StateOf,
    request: Request,
    range_: Annotated[
        str | None, Header(alias="Range", max_length=200, description="`bytes=FIRST-LAST`; one range is honoured")
    ] = None,
    if_range: Annotated[
        str | None,
        Header(alias="If-Range", max_length=200, description="An `ETag`: the range only if the file is still this one"),
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download one file; a single byte range is honoured, the entity tag is the file's SHA-256."""
    file = await actions.artifact(state, id, name)
    tag = f'"{file.sha256}"'
    headers = {"ETag": tag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
    if not passes_if_none_match(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    key = object_keys.student_artifact(id, name)
    if await state.store.head(key) is None:
        raise NotFound(f"{name} of {id} is no longer in the store")
    start, end, status = 0, file.size, 200
    whole = request.method == "HEAD" or if_range not in (None, tag)
    wanted = None if whole else _byte_range(range_, file.size)
    if wanted is not None:
        start, end = wanted
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    headers["Content-Length"] = str(end - start)
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/octet-stream")
    chunks: AsyncIterator[bytes] = state.store.stream(key, start, end)
    return StreamingResponse(chunks, status_code=status, headers=headers, media_type="application/octet-stream")


def _byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end) of a single `bytes=` range; None where there is none that must be honoured (RFC 9110, 14.2)."""
    found = re.fullmatch(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", header or "", re.IGNORECASE)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        if last and int(last) < int(first):
            return None
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        raise RangeNotSatisfiable(
            f"The file has {size} bytes; the range {header!r} is outside",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end


@router.post(
    "/{id}/promote",
    status_code=201,
    response_model=Teacher,
    responses={200: {"model": Teacher}, **problems(404, 409, 415, 429, 507)},
)
async def promote_student(id: StudentId, state: StateOf, once: OnceOf, body: PromotionBody | None = None) -> Response:
    """Register a student as a teacher and start its validation. 200 where it was promoted before."""

    async def act(teacher_id: str) -> Response:
        teacher, fresh = await actions.promote(state, id, teacher_id, body.name if body else None)
        return document(teacher, status=201 if fresh else 200, headers={"Location": f"/v1/teachers/{teacher.id}"})

    async def remake(teacher_id: str) -> Response:
        return document(await teachers.get(state, teacher_id))

    return await once.run(state, TEACHER, lambda: body.model_dump_json() if body else b"", act, remake)
