"""`/v1/recommendations`: rank the zoo for a student."""

from functools import partial

from fastapi import APIRouter, Request, Response

from preceptor.contract.ids import RECOMMENDATION, RecommendationId
from preceptor.contract.jobs import JobStatus, JobSummary
from preceptor.contract.page import Page
from preceptor.contract.recommendations import Recommendation, RecommendationBody
from service.actions import recommendations as actions
from service.http.dependencies import StateOf, WaitOf
from service.http.idempotency import OnceOf, form_of, is_large_or_final
from service.http.job_responses import accepted, resumed, whole
from service.http.problems import problems
from service.http.responses import Cursor, IfNoneMatch, Limit, conditional, document, page
from service.http.strict_route import StrictRoute

router = APIRouter(prefix="/v1/recommendations", tags=["recommendations"], route_class=StrictRoute)


@router.post(
    "",
    status_code=202,
    response_model=Recommendation,
    responses={200: {"model": Recommendation}, **problems(404, 409, 415, 429, 507)},
)
async def recommend(body: RecommendationBody, state: StateOf, wait: WaitOf, once: OnceOf) -> Response:
    """Rank teachers for a student. Label names alone are enough; a labelled probe sharpens the answer."""

    async def act(id: str) -> Response:
        return await accepted(state, await actions.submit(state, body, id), wait)

    async def remake(id: str) -> Response:
        return document(await whole(state, id))

    resume = partial(resumed, state, wait)
    return await once.run(state, RECOMMENDATION, partial(form_of, body), act, remake, resume, is_large_or_final)


@router.get("", response_model=Page[JobSummary], responses=problems())
async def list_recommendations(
    request: Request, state: StateOf, status: JobStatus | None = None, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List recommendations, newest first, without their results."""
    return page(request, *await state.jobs.page(cursor, limit, "recommendation", status))


@router.get("/{id}", response_model=Recommendation, responses={304: {"description": "Not modified"}, **problems(404)})
async def get_recommendation(id: RecommendationId, state: StateOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a recommendation: its request, where it stands, and its result."""
    return conditional(await whole(state, id), if_none_match)
