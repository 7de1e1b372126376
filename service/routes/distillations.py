"""`/v1/distillations`: train a student from teachers."""

from functools import partial

from fastapi import APIRouter, Request, Response

from preceptor.contract.distillations import Distillation, DistillationBody
from preceptor.contract.ids import DISTILLATION, DistillationId
from preceptor.contract.jobs import JobStatus, JobSummary
from preceptor.contract.page import Page
from service.actions import distillations as actions
from service.http.dependencies import StateOf, WaitOf
from service.http.idempotency import OnceOf, form_of, is_large_or_final
from service.http.job_responses import accepted, resumed, whole
from service.http.problems import problems
from service.http.responses import Cursor, IfNoneMatch, Limit, conditional, document, page
from service.http.strict_route import StrictRoute

router = APIRouter(prefix="/v1/distillations", tags=["distillations"], route_class=StrictRoute)


@router.post(
    "",
    status_code=202,
    response_model=Distillation,
    responses={200: {"model": Distillation}, **problems(404, 409, 415, 429, 507)},
)
async def distil(body: DistillationBody, state: StateOf, wait: WaitOf, once: OnceOf) -> Response:
    """Train a student from one or more teachers whose classes may differ from its own."""

    async def act(id: str) -> Response:
        return await accepted(state, await actions.submit(state, body, id), wait)

    async def remake(id: str) -> Response:
        return document(await whole(state, id))

    resume = partial(resumed, state, wait)
    return await once.run(state, DISTILLATION, partial(form_of, body), act, remake, resume, is_large_or_final)


@router.get("", response_model=Page[JobSummary], responses=problems())
async def list_distillations(
    request: Request, state: StateOf, status: JobStatus | None = None, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List distillations, newest first, without their results."""
    return page(request, *await state.jobs.page(cursor, limit, "distillation", status))


@router.get("/{id}", response_model=Distillation, responses={304: {"description": "Not modified"}, **problems(404)})
async def get_distillation(id: DistillationId, state: StateOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a distillation: its request, where it stands, and its result."""
    return conditional(await whole(state, id), if_none_match)
