"""`/v1/label-sets`: ordered class names, content-addressed."""

from functools import partial

from fastapi import APIRouter, Request, Response

from preceptor.contract.ids import LABEL_SET, LabelSetId
from preceptor.contract.labels import LabelSet, LabelSetBody
from preceptor.contract.page import Page
from service.core.async_helpers import in_document_thread
from service.core.errors import NotFound
from service.core.labels import label_sets as actions
from service.core.state import State
from service.http.dependencies import StateOf
from service.http.idempotency import OnceOf, form_of
from service.http.problems import problems
from service.http.responses import Cursor, IfNoneMatch, Limit, conditional, document, page
from service.http.strict_route import StrictRoute

router = APIRouter(prefix="/v1/label-sets", tags=["label sets"], route_class=StrictRoute)


@router.post(
    "", status_code=201, response_model=LabelSet, responses={200: {"model": LabelSet}, **problems(409, 415, 507)}
)
async def register_label_set(body: LabelSetBody, state: StateOf, once: OnceOf) -> Response:
    """Register a label set. Equal content has an equal id; 200 where it was there."""

    async def act(_: str) -> Response:
        found, fresh = await actions.register(state, body)
        return await _shown(found, 201 if fresh else 200, {"Location": f"/v1/label-sets/{found.id}"})

    async def remake(id: str) -> Response:
        return await _shown(await _found(state, id))

    return await once.run(state, LABEL_SET, partial(form_of, body), act, remake)


@router.get("", response_model=Page[LabelSet], responses=problems())
async def list_label_sets(request: Request, state: StateOf, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List label sets, newest first."""
    return page(request, *await state.label_sets.page(cursor, limit))


@router.get("/{id}", response_model=LabelSet, responses={304: {"description": "Not modified"}, **problems(404)})
async def get_label_set(id: LabelSetId, state: StateOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show a label set."""
    found = await _found(state, id)
    return (
        conditional(found, if_none_match)
        if found.embeddings is None
        else await in_document_thread(conditional, found, if_none_match)
    )


@router.delete("/{id}", status_code=204, response_model=None, responses=problems(404))
async def delete_label_set(id: LabelSetId, state: StateOf) -> Response:
    """Remove a label set. Jobs and teachers keep their own copy of the names; the same names get the same id again."""
    await actions.remove(state, id)
    return Response(status_code=204)


async def _found(state: State, id: str) -> LabelSet:
    found = await state.label_sets.get(id)
    if found is None:
        raise NotFound(f"There is no label set {id}")
    return found


async def _shown(found: LabelSet, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    if found.embeddings is None:
        return document(found, status=status, headers=headers)
    return await in_document_thread(document, found, status=status, headers=headers)
