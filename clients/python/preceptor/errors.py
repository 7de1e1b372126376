"""What the SDK raises: one class a status, so that a caller catches what it can act on and nothing else."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .contract.problem import TYPE_BASE, FieldError, Problem

if TYPE_CHECKING:
    from .contract.jobs import JobSummary
    from .contract.teachers import Teacher


class PreceptorError(Exception):
    """The root of everything that the SDK raises on purpose."""


class ServiceUnreachableError(PreceptorError):
    """No answer came: nothing listens there, the connection broke, or it took too long."""


class UnexpectedAnswerError(PreceptorError):
    """An answer came that no Preceptor service of this version gives; often another program listens there."""


class TeacherFolderError(PreceptorError):
    """A folder cannot be registered as a teacher; nothing was sent."""


class TextFileError(PreceptorError):
    """A text file cannot be read: it is not text, or in an encoding that is not supported."""


class LabelFileError(PreceptorError):
    """A file does not list class names."""


class LocalFileError(PreceptorError, OSError):
    """A local file or folder cannot be read or written; carries `errno` and `filename` of the OSError behind it."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.errno, self.strerror, self.filename = cause.errno, cause.strerror, cause.filename
        self._text = f"{cause.filename}: {cause.strerror}" if cause.filename and cause.strerror else str(cause)

    def __str__(self) -> str:
        return self._text


class DigestMismatchError(PreceptorError):
    """A downloaded file does not have the SHA-256 that the service announced."""


class StatusError(PreceptorError):
    """The service refused.

    Attributes
    ----------
    problem
        The RFC 9457 document: `type`, `title`, `detail`, `errors` with JSON pointers.
    status
        HTTP status.
    headers
        Headers of the answer, names in lower case.
    """

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def request_id(self) -> str | None:
        """The request's id; the service's log carries the same."""
        return self.headers.get("x-request-id") or self.problem.instance

    def __str__(self) -> str:
        return describe(self.problem)


class MalformedRequestError(StatusError):
    """400: the request could not be read."""


class AuthenticationError(StatusError):
    """401: no key was given, or a wrong one."""

    def __str__(self) -> str:
        return f"{super().__str__()}. The key is read from api_key, --api-key or PRECEPTOR_API_KEY"


class PermissionDeniedError(StatusError):
    """403: this key may not do that."""


class NotFoundError(StatusError):
    """404: there is nothing with this id."""


class ConflictError(StatusError):
    """409: the resource is in a state that does not allow this."""


class PreconditionFailedError(StatusError):
    """412: the resource has changed in the meantime."""


class TooLargeError(StatusError):
    """413: a body, file or item is over its limit."""


class UnsupportedTypeError(StatusError):
    """415: this format is not accepted."""


class RangeNotSatisfiableError(StatusError):
    """416: a byte range outside the file."""


class InvalidRequestError(StatusError):
    """422: the request is understood but wrong. Raised before anything is sent where the SDK can tell."""


class IdempotencyMismatchError(InvalidRequestError):
    """422: this Idempotency-Key was used with another request."""


class QueueFullError(StatusError):
    """429: the lane is full; nothing was accepted."""


class ServerError(StatusError):
    """5xx: the service could not do it."""


class UnavailableError(ServerError):
    """503: the service cannot reach its queue or its store."""


class StoreFullError(ServerError):
    """507: the store has no room left."""


class JobFailedError(PreceptorError):
    """A job ended without a result. `job` is its last state, `problem` the reason."""

    def __init__(self, job: "JobSummary") -> None:
        self.job = job
        self.problem = job.error
        super().__init__(job.id)

    def __str__(self) -> str:
        reason = describe(self.problem) if self.problem else "the service gave no reason"
        return f"{self.job.kind} {self.job.id} failed: {reason}"


class JobCanceledError(PreceptorError):
    """A job was canceled before it had a result. `job` is its last state."""

    def __init__(self, job: "JobSummary") -> None:
        self.job = job
        super().__init__(f"{job.kind} {job.id} was canceled")


class WaitTimeoutError(PreceptorError, TimeoutError):
    """The job has not ended, or made no progress, within the time given to `wait`.

    The job continues; `job` is its last known state. `idle`: the limit of the time without progress was reached.
    """

    def __init__(self, job: "JobSummary", seconds: float, *, idle: bool = False) -> None:
        self.job, self.idle = job, idle
        passed = f" and has made no progress for {seconds:g} s" if idle else f" after {seconds:g} s"
        super().__init__(f"{job.kind} {job.id} is {job.status.value}{passed}; it continues: wait again, or cancel")


class TeacherRejectedError(PreceptorError):
    """A teacher was uploaded, but its validation says that it cannot be used. `teacher` carries the reason."""

    def __init__(self, teacher: "Teacher") -> None:
        self.teacher = teacher
        reason = teacher.reason or "the service gave no reason"
        super().__init__(f"teacher {teacher.id} ({teacher.name}) was rejected: {reason}")


_BY_STATUS: dict[int, type[StatusError]] = {
    400: MalformedRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionFailedError,
    413: TooLargeError,
    415: UnsupportedTypeError,
    416: RangeNotSatisfiableError,
    422: InvalidRequestError,
    429: QueueFullError,
    503: UnavailableError,
    507: StoreFullError,
}
_BY_TYPE: dict[str, type[StatusError]] = {TYPE_BASE + "idempotency-mismatch": IdempotencyMismatchError}


def status_error(problem: Problem, headers: Mapping[str, str] | None = None) -> StatusError:
    """The exception that belongs to a problem document."""
    kind = _BY_TYPE.get(problem.type) or _BY_STATUS.get(problem.status)
    if kind is None:
        kind = ServerError if problem.status >= 500 else StatusError
    return kind(problem, headers)


def describe(problem: Problem) -> str:
    """A problem as a person reads it: the detail, then one line a field that the detail does not spell out."""
    lines = [problem.detail or problem.title]
    for error in problem.errors:
        field = f"{error.pointer or '/'}: {error.detail}"
        if field not in problem.detail:
            lines.append(f"  {field}")
    return "\n".join(lines)


def invalid(detail: str, fields: Mapping[str, str] | None = None) -> InvalidRequestError:
    """An `InvalidRequestError` found on this side, before anything was sent."""
    errors = [FieldError(pointer=pointer, detail=text) for pointer, text in (fields or {}).items()]
    values: dict[str, Any] = {
        "type": TYPE_BASE + "invalid-request",
        "title": "The request is not valid",
        "status": 422,
        "detail": detail,
        "errors": errors,
    }
    return InvalidRequestError(Problem(**values))
