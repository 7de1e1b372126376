"""`/v1/teachers`: the zoo."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response

from preceptor.contract.ids import TEACHER, VALIDATION, ProbeId, TeacherId
from preceptor.contract.page import Page
from preceptor.contract.teachers import (
    FileName,
    Modality,
    StoredFile,
    Teacher,
    TeacherBody,
    TeacherPatch,
    TeacherStatus,
)
from preceptor.contract.validations import Validation
from service.actions import teachers as actions
from service.actions.uploads import staged
from service.http.bodies import RAW, caller_gone, raw_body
from service.http.dependencies import StateOf, WaitOf
from service.http.idempotency import OnceOf, form_of
from service.http.job_responses import accepted, resumed, whole
from service.http.problems import problems
from service.http.responses import Cursor, IfNoneMatch, Limit, conditional, document, page
from service.http.strict_route import StrictRoute

router = APIRouter(prefix="/v1/teachers", tags=["teachers"], route_class=StrictRoute)


@router.post("", status_code=201, response_model=Teacher, responses=problems(409, 415, 429, 507))
async def register_teacher(
    body: TeacherBody,
    state: StateOf,
    once: OnceOf,
    check: Annotated[
        bool,
        Query(
            description="Only check the model: it is uploaded and validated as usual, but never listed or ranked. The "
            "result of its validation holds the teacher that a registration would have made. Delete it then; two hours "
            "after its last upload it is removed anyway"
        ),
    ] = False,
) -> Response:
    """Register a teacher. Upload its files next, then validate it; it is used once it is `ready`."""

    async def act(id: str) -> Response:
        teacher = await actions.register(state, body, id, check=check)
        return document(teacher, status=201, headers={"Location": f"/v1/teachers/{teacher.id}"})

    async def remake(id: str) -> Response:
        return document(await actions.get(state, id))

    return await once.run(state, TEACHER, partial(form_of, body), act, remake)


@router.get("", response_model=Page[Teacher], responses=problems())
async def list_teachers(
    request: Request,
    state: StateOf,
    status: TeacherStatus | None = None,
    tag: Annotated[list[str] | None, Query(max_length=32, description="A teacher needs all of them")] = None,
    modality: Modality | None = None,
    name: Annotated[str | None, Query(max_length=120, description="Part of the name, in any case")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List teachers, newest first."""
    wanted = name.casefold() if name else None

    def keep(teacher: Teacher) -> bool:
        return (
            (status is None or teacher.status == status)
            and (tag is None or set(tag) <= set(teacher.tags))
            and (modality is None or teacher.modality == modality)
            and (wanted is None or wanted in teacher.name.casefold())
        )

    filtered = any(value is not None for value in (status, tag, modality, wanted))
    return page(request, *await state.teachers.page(cursor, limit, keep if filtered else None))


@router.get("/{id}", response_model=Teacher, responses={304: {"description": "Not modified"}, **problems(404)})
async def get_teacher(id: TeacherId, state: StateOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a teacher."""
    return conditional(await actions.get(state, id), if_none_match)


@router.patch("/{id}", response_model=Teacher, responses=problems(404, 412, 415, 507))
async def change_teacher(
    id: TeacherId,
    body: TeacherPatch,
    state: StateOf,
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            max_length=2000,
            description="The `ETag` of the version that is to be changed: 412 where it has changed since",
        ),
    ] = None,
) -> Response:
    """Change a teacher's name, description, tags or accuracy."""
    return document(await actions.change(state, id, body, if_match))


@router.delete("/{id}", status_code=204, response_model=None, responses=problems(404))
async def delete_teacher(id: TeacherId, state: StateOf) -> Response:
    """Remove a teacher and its files."""
    await actions.remove(state, id)
    return Response(status_code=204)


@router.put(
    "/{id}/files/{name}",
    status_code=201,
    response_model=StoredFile,
    responses={200: {"model": StoredFile}, **problems(404, 409, 415, 507)},
    openapi_extra=RAW,
)
async def upload_teacher_file(
    id: TeacherId, name: FileName, request: Request, state: StateOf, once: OnceOf
) -> Response:
    """Upload one file of a teacher: the raw bytes are the body. No pickle is accepted."""
    # With a key this may be a replay, which is answered as before whatever became of the teacher since.
    await actions.refuse_file(state, id, name, by_name_alone=once.keyed)
    limit = state.settings.max_file_bytes
    async with staged(state.store, raw_body(request, limit, name), limit, name) as upload:

        async def act(_: str) -> Response:
            file, fresh = await actions.add_file(state, id, name, upload)
            return document(file, status=201 if fresh else 200)

        return await once.run(state, TEACHER, lambda: upload.sha256, act)


@router.post(
    "/{id}/validation",
    status_code=202,
    response_model=Validation,
    responses={200: {"model": Validation}, **problems(404, 409, 429, 507)},
)
async def validate_teacher(id: TeacherId, state: StateOf, wait: WaitOf, once: OnceOf) -> Response:
    """Start the job that loads the teacher, runs it on a sample and decides whether it may be used."""

    async def act(job: str) -> Response:
        return await accepted(state, await actions.start_validation(state, id, job), wait)

    async def remake(job: str) -> Response:
        return document(await whole(state, job))

    return await once.run(state, VALIDATION, bytes, act, remake, partial(resumed, state, wait))


@router.put(
    "/{id}/predictions/{probe}",
    status_code=201,
    response_model=StoredFile,
    responses=problems(404, 409, 415, 507),
    openapi_extra=RAW,
)
async def upload_predictions(
    id: TeacherId,
    probe: ProbeId,
    request: Request,
    state: StateOf,
    once: OnceOf,
    values: Annotated[Literal["probabilities", "logits"], Query(description="What the numbers are")] = "probabilities",
) -> Response:
    """Upload a black-box teacher's predictions over a probe: `.npz` with `predictions` (items x classes)."""
    limit = state.settings.max_probe_bytes
    async with staged(state.store, raw_body(request, limit, "predictions"), limit, "predictions") as upload:
        gone = partial(caller_gone, request)

        async def act(_: str) -> Response:
            return document(await actions.add_predictions(state, id, probe, upload, values, gone), status=201)

        return await once.run(state, TEACHER, lambda: upload.sha256, act)
