"""`/v1/probes`: samples of the student's data."""

import json
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from preceptor.contract.ids import PROBE, ProbeId
from preceptor.contract.labels import Label
from preceptor.contract.page import Page
from preceptor.contract.probes import Probe, ProbeCheck, ProbeFormat
from service.actions import probes as actions
from service.actions.uploads import staged
from service.http.bodies import RAW, caller_gone, raw_body
from service.http.dependencies import StateOf
from service.http.idempotency import OnceOf
from service.http.problems import problems
from service.http.responses import Cursor, IfNoneMatch, Limit, conditional, document, page
from service.http.strict_route import StrictRoute

router = APIRouter(prefix="/v1/probes", tags=["probes"], route_class=StrictRoute)


@router.post(
    "",
    status_code=201,
    response_model=Probe,
    responses={200: {"model": ProbeCheck | Probe}, **problems(409, 415, 507)},
    openapi_extra=RAW,
)
async def upload_probe(
    request: Request,
    state: StateOf,
    once: OnceOf,
    filename: Annotated[str | None, Query(max_length=255, description="Its ending tells the format")] = None,
    format: Annotated[ProbeFormat | None, Query(description="The format, where no file name tells it")] = None,
    labels: Annotated[
        list[Label] | None, Query(max_length=2000, description="Class names in label order; repeat the parameter")
    ] = None,
    check: Annotated[
        bool, Query(description="Store nothing: the answer is the probe that an upload would make, with examples")
    ] = False,
) -> Response:
    """Upload a probe: the raw bytes of an `.npz`, Parquet, zip, JSONL or CSV file are the body."""
    limit = state.settings.max_probe_bytes
    async with staged(state.store, raw_body(request, limit, "the probe"), limit, "the probe") as upload:
        gone = partial(caller_gone, request)

        async def act(_: str) -> Response:
            if check:
                return document(await actions.check(state, upload, filename, format, labels, gone))
            probe, fresh = await actions.add(state, upload, filename, format, labels, gone)
            return document(probe, status=201 if fresh else 200, headers={"Location": f"/v1/probes/{probe.id}"})

        async def remake(id: str) -> Response:
            return document(await actions.get(state, id))

        def content() -> str:
            return json.dumps([upload.sha256, filename, format, labels])

        return await once.run(state, PROBE, content, act, None if check else remake)


@router.get("", response_model=Page[Probe], responses=problems())
async def list_probes(request: Request, state: StateOf, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List probes, newest first."""
    return page(request, *await state.probes.page(cursor, limit))


@router.get("/{id}", response_model=Probe, responses={304: {"description": "Not modified"}, **problems(404)})
async def get_probe(id: ProbeId, state: StateOf, if_none_match: IfNoneMatch = None) -> Response:
    """Show what is known of a probe."""
    return conditional(await actions.get(state, id), if_none_match)


@router.delete("/{id}", status_code=204, response_model=None, responses=problems(404))
async def delete_probe(id: ProbeId, state: StateOf) -> Response:
    """Remove a probe and its items."""
    await actions.remove(state, id)
    return Response(status_code=204)
