"""Webhooks: addresses that are notified of the end of jobs, after the Standard Webhooks specification."""

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
"""Pattern of `WebhookUrl`: user names, passwords and fragments are not allowed."""

WebhookUrl = Annotated[str, StringConstraints(max_length=2000, pattern=URL_PATTERN)]
"""An absolute http or https URL. A host name with non-ASCII letters must be in its `xn--` form."""


class WebhookBody(Body):
    """A webhook to create."""

    url: WebhookUrl = Field(description="Address of the messages", examples=["https://example.com/hooks/preceptor"])
    events: list[WebhookEvent] = Field(
        default_factory=lambda: list(EVENTS),
        min_length=1,
        max_length=len(EVENTS),
        description="Events to deliver; all by default",
    )
    description: Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")] = Field(
        default="", description="Free text, shown in lists"
    )


class Webhook(Answer):
    """A webhook, without its secret."""

    id: WebhookId
    url: str
    events: list[WebhookEvent]
    description: str = ""
    created_at: Moment = Field(description="Jobs that ended earlier are not delivered")
    disabled_at: Moment | None = Field(default=None, description="Since when nothing is sent; null if enabled")
    # A string, so that clients can read reasons that are added later.
    disabled_reason: str | None = Field(
        default=None,
        description="`gone`: the address answered 410; `failing`: no attempt has succeeded for days",
        examples=["failing"],
    )
    enabled_at: Moment | None = Field(
        default=None, description="When it was last enabled again; jobs that ended earlier are not delivered"
    )
    failing_since: Moment | None = Field(
        default=None, description="Since when every attempt has failed; null if the last one succeeded"
    )


class CreatedWebhook(Webhook):
    """A webhook with its new secret. The secret is shown once, and again to a replay of the same request."""

    secret: str = Field(description="`whsec_` and the base64 of the signing key. Store it; it is not shown again")


class WebhookJob(Answer):
    """The job that a message is about."""

    id: JobId
    kind: JobKind
    status: JobStatus
    error: Problem | None = Field(default=None, description="Reason of the failure")


class WebhookMessage(Answer):
    """A message, as posted to a webhook's address."""

    type: WebhookEvent
    timestamp: Moment = Field(description="When the job ended")
    data: WebhookJob


class DeliveryAttempt(Answer):
    """One attempt to deliver a message."""

    at: Moment
    status: int | None = Field(default=None, description="HTTP status of the response; null without a response")
    error: str | None = Field(default=None, description="Why there was no response, or why the attempt failed")


class WebhookDelivery(Answer):
    """A message to one webhook, and its attempts."""

    id: MessageId = Field(description="The `webhook-id` header; the same for all attempts and replays")
    webhook: WebhookId
    message: WebhookMessage
    status: DeliveryStatus
    attempts: list[DeliveryAttempt] = Field(
        default_factory=list[DeliveryAttempt], description="The latest 20 attempts, oldest first"
    )
    tries: int = Field(default=0, description="Number of attempts since the job's end or the last replay")
    next_attempt_at: Moment | None = Field(default=None, description="Time of the next attempt; null unless pending")
    created_at: Moment
