"""Maps errors of computing code to the problem that a job ends with. Computing code knows nothing of HTTP."""

from typing import Final

from service.core.errors import InvalidProbe, InvalidRequest, JobFailed, PreceptorError
from worker.errors import ComputationFailed, InvalidInput, InvalidItems

_PROBLEMS: Final[tuple[tuple[type[ComputationFailed], type[PreceptorError]], ...]] = (
    (InvalidItems, InvalidProbe),
    (InvalidInput, InvalidRequest),
    (ComputationFailed, JobFailed),
)


def reported(error: ComputationFailed) -> PreceptorError:
    """The error with the problem type and status that callers see."""
    return next(problem for kind, problem in _PROBLEMS if isinstance(error, kind))(error.detail)
