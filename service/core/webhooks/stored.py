"""A webhook as stored: with its signing secrets, and the rules for the jobs that it receives."""

import base64
import secrets
from datetime import datetime, timedelta
from typing import Final, Self, cast

from pydantic import BaseModel, Field

from preceptor.contract.base import Moment
from preceptor.contract.jobs import JobStatus, JobSummary
from preceptor.contract.webhooks import Webhook, WebhookEvent

KEY_PREFIX: Final = "whsec_"
OVERLAP: Final = timedelta(hours=24)
"""Time for which a replaced secret still signs, so that every receiver can be updated without interruption."""

_SECRET_BYTES: Final = 32
_FORMER_AT_MOST: Final = 4
"""Limit of former secrets: many rotations must not make a header that receivers reject."""


def event_of(status: JobStatus) -> WebhookEvent:
    """The event of a terminal status."""
    return cast(WebhookEvent, f"job.{status.value}")


def new_secret() -> str:
    """A new random secret."""
    return KEY_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


class FormerSecret(BaseModel):
    """A replaced secret, and the time until which it still signs."""

    secret: str
    until: Moment


class StoredWebhook(Webhook):
    """A webhook as stored, with the secrets needed for signing.

    Attributes
    ----------
    rotation
        Id of the request that created the secret: repeated after a crash, it must not create another one.
    """

    secret: str
    former: list[FormerSecret] = Field(default_factory=list[FormerSecret])
    rotation: str | None = None

    def wants(self, job: JobSummary) -> bool:
        """Whether the webhook receives a message about the end of a job."""
        # After a loss of Redis all ended jobs are examined again, including those that ended while it was disabled.
        since = max(self.created_at, self.enabled_at or self.created_at)
        return (
            self.disabled_at is None
            and job.finished_at is not None
            and job.finished_at >= since
            and event_of(job.status) in self.events
        )

    def signing(self, moment: datetime) -> list[str]:
        """The secrets that sign at the given time, newest first."""
        return [self.secret, *(former.secret for former in self.former if former.until > moment)]

    def rotated(self, rotation: str, moment: datetime) -> Self:
        """The same webhook with a new secret."""
        former = [FormerSecret(secret=self.secret, until=moment + OVERLAP)]
        former += [one for one in self.former if one.until > moment]
        update = {"secret": new_secret(), "former": former[:_FORMER_AT_MOST], "rotation": rotation}
        return self.model_copy(update=update)
