"""The one error tree. Each error knows its problem type and HTTP status; the service maps it in one place."""

from collections.abc import Sequence
from typing import ClassVar

from preceptor.contract.problem import TYPE_BASE, FieldError, Problem


class PreceptorError(Exception):
    """Something that a caller should read: `detail` says what was wrong and what to do."""

    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500

    def __init__(
        self, detail: str, *, errors: Sequence[FieldError] = (), headers: dict[str, str] | None = None
    ) -> None:
        # It may quote what was sent, down to halves of surrogate pairs, which no answer and no record can hold.
        self.detail = detail.encode(errors="backslashreplace").decode()
        super().__init__(self.detail)
        self.errors = list(errors)
        self.headers = headers or {}

    def problem(self, instance: str | None = None) -> Problem:
        """The error as an RFC 9457 document."""
        return Problem(
            type=TYPE_BASE + self.slug,
            title=self.title,
            status=self.status,
            detail=self.detail,
            instance=instance,
            errors=self.errors,
        )


class InvalidRequest(PreceptorError):
    """The request is understood but wrong."""

    slug, title, status = "invalid-request", "The request is not valid", 422


class MalformedRequest(PreceptorError):
    """The request could not be read."""

    slug, title, status = "malformed-request", "The request could not be read", 400


class InvalidProbe(InvalidRequest):
    """The uploaded data cannot be a probe."""

    slug, title = "invalid-probe", "The data cannot be used as a probe"


class Unauthenticated(PreceptorError):
    """There is no valid API key or token in the request."""

    slug, title, status = "unauthenticated", "An API key or a token is needed", 401


class Forbidden(PreceptorError):
    """The API key or the token does not allow this."""

    slug, title, status = "forbidden", "The API key or the token does not allow this", 403


class CrossSite(PreceptorError):
    """A web page of another site asks for a change."""

    slug, title, status = "cross-site", "Other web sites may not change anything here", 403


class UnknownHost(PreceptorError):
    """The request is for another host."""

    slug, title, status = "unknown-host", "This service does not answer for that host", 421


class NotFound(PreceptorError):
    """There is nothing with this id."""

    slug, title, status = "not-found", "Not found", 404


class MethodNotAllowed(PreceptorError):
    """The resource exists but not with this method."""

    slug, title, status = "method-not-allowed", "Method not allowed", 405


class BodyStalled(PreceptorError):
    """The rest of a body did not come in time."""

    slug, title, status = "body-stalled", "The body did not come to its end", 408


class Conflict(PreceptorError):
    """The resource is in a state that does not allow this."""

    slug, title, status = "conflict", "Conflict with the present state", 409


class PreconditionFailed(PreceptorError):
    """If-Match named another version."""

    slug, title, status = "precondition-failed", "The resource has changed", 412


class TooLarge(PreceptorError):
    """A body, file or item over its limit."""

    slug, title, status = "too-large", "Too large", 413


class UnsupportedType(PreceptorError):
    """A format that is not accepted."""

    slug, title, status = "unsupported-type", "This format is not accepted", 415


class RangeNotSatisfiable(PreceptorError):
    """A byte range outside the file."""

    slug, title, status = "range-not-satisfiable", "Range not satisfiable", 416


class IdempotencyMismatch(PreceptorError):
    """An Idempotency-Key used again with another request."""

    slug, title, status = "idempotency-mismatch", "This Idempotency-Key belongs to another request", 422


class QueueFull(PreceptorError):
    """The lane is full; nothing was accepted."""

    slug, title, status = "queue-full", "The queue is full", 429


class QuotaReached(PreceptorError):
    """The caller has as many unfinished jobs as it may have; nothing was accepted."""

    slug, title, status = "quota-reached", "The caller's quota is reached", 429


class TooManyStreams(PreceptorError):
    """As many event streams are open as may be."""

    slug, title, status = "too-many-streams", "Too many event streams", 429


class TooManyConnections(PreceptorError):
    """As many connections are open as are served."""

    slug, title, status = "too-many-connections", "Too many connections", 503


class StateUnavailable(PreceptorError):
    """Redis does not answer."""

    slug, title, status = "state-unavailable", "The service cannot reach its queue", 503


class IssuerUnavailable(PreceptorError):
    """The issuer of bearer tokens does not give its keys: tokens cannot be checked, API keys can."""

    slug, title, status = "issuer-unavailable", "The service cannot reach the issuer of the token", 503


class StoreUnavailable(PreceptorError):
    """The store does not answer or refuses writes."""

    slug, title, status = "store-unavailable", "The service cannot use its store", 503


class StoreFull(PreceptorError):
    """The store has no room left."""

    slug, title, status = "store-full", "The store is full", 507


class JobFailed(PreceptorError):
    """A job that cannot be done: the reason is in `detail`."""

    slug, title, status = "job-failed", "The job could not be done", 422


class WorkerLost(JobFailed):
    """The job lost its worker too often."""

    slug, title, status = "worker-lost", "The job ended its worker repeatedly", 500


class TimeLimit(JobFailed):
    """The job ran longer than allowed."""

    slug, title, status = "time-limit", "The job took too long", 504
