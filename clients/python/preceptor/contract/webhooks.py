"""Webhooks: addresses that hear of the end of jobs, after the Standard Webhooks specification."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from .base import Answer, Body, Moment
from .ids import JobId, MessageId, WebhookId
from .jobs import JobKind, JobStatus
from .problem import Problem

WebhookEvent = Literal["job.succeeded", "job.failed", "job.canceled"]
EVENTS: Final[tuple[WebhookEvent, ...]] = ("job.succeeded", "job.failed", "job.canceled")
DeliveryStatus = Literal["pending", "succeeded", "failed"]
DisabledReason = Literal["gone", "failing"]

_NAME: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
URL_PATTERN: Final = (
    rf"^https?://({_NAME}(\.{_NAME})*|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{{0,4}})?"
    r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?$"
)
"""What `WebhookUrl` admits: there is no place for a user name, a password or a fragment."""

WebhookUrl = Annotated[str, StringConstraints(max_length=2000, pattern=URL_PATTERN)]
"""An absolute address, http or https. A name with other letters than ASCII is written in its `xn--` form."""


class WebhookBody(Body):
    """A webhook to be created."""

    url: WebhookUrl = Field(description="Where messages are posted", examples=["https://example.com/hooks/preceptor"])
    events: list[WebhookEvent] = Field(
        default_factory=lambda: list(EVENTS), min_length=1, max_length=len(EVENTS), description="All where absent"
    )
    description: Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")] = Field(
        default="", description="For whoever reads the list"
    )


class Webhook(Answer):
    """A webhook, without its secret."""

    id: WebhookId
    url: str
    events: list[WebhookEvent]
    description: str = ""
    created_at: Moment = Field(description="Jobs that ended before are not told of")
    disabled_at: Moment | None = Field(default=None, description="Since when nothing is sent; null where it is on")
    # Text, so that clients can read reasons that come later.
    disabled_reason: str | None = Field(
        default=None,
        description="`gone`: the address answered 410; `failing`: no attempt has succeeded for days",
        examples=["failing"],
    )
    enabled_at: Moment | None = Field(
        default=None, description="When it was last switched on again; jobs that ended before are not told of"
    )
    failing_since: Moment | None = Field(
        default=None, description="Since when every attempt has failed; null where the last one succeeded"
    )


class CreatedWebhook(Webhook):
    """A webhook with its new secret, the one time that it is shown, but for a replay of the request."""

    secret: str = Field(description="`whsec_` and the base64 of the signing key. Keep it; it is not shown again")


class WebhookJob(Answer):
    """The job that a message tells of."""

    id: JobId
    kind: JobKind
    status: JobStatus
    error: Problem | None = Field(default=None, description="Why it has failed")


class WebhookMessage(Answer):
    """What is posted to a webhook's address."""

    type: WebhookEvent
    timestamp: Moment = Field(description="When the job ended")
    data: WebhookJob


class DeliveryAttempt(Answer):
    """One try to deliver a message."""

    at: Moment
    status: int | None = Field(default=None, description="The HTTP status of the answer; null where there was none")
    error: str | None = Field(default=None, description="Why there was no answer, or why it does not count")


class WebhookDelivery(Answer):
    """A message to one webhook, and what became of it."""

    id: MessageId = Field(description="The `webhook-id` header: the same at each try and each replay")
    webhook: WebhookId
    message: WebhookMessage
    status: DeliveryStatus
    attempts: list[DeliveryAttempt] = Field(
        default_factory=list[DeliveryAttempt], description="The latest 20, oldest first"
    )
    tries: int = Field(default=0, description="Attempts since the job's end, or since the last replay")
    next_attempt_at: Moment | None = Field(default=None, description="Null unless pending")
    created_at: Moment
