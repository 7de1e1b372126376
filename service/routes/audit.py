"""`/v1/audit`: did the estimators foresee what distilling gained, on this deployment's own tasks?"""

from fastapi import APIRouter, Response

from preceptor.contract.audit import Audit
from service.actions import audit as actions
from service.http.dependencies import StateOf
from service.http.problems import problems
from service.http.responses import IfNoneMatch, conditional
from service.http.strict_route import StrictRoute

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=StrictRoute)


@router.get("", response_model=Audit, responses={304: {"description": "Not modified"}, **problems()})
async def get_audit(state: StateOf, if_none_match: IfNoneMatch = None) -> Response:
    """Finished distillations from recommended teachers: each estimator's score then, against the gain since."""
    return conditional(await actions.audit(state), if_none_match)
