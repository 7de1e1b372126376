"""A webhook as it is stored: with the secrets that its messages are signed with, and when it may hear of a job."""

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
"""For so long a replaced secret still signs: time to give the new one to every receiver, none of them being cut off."""

_SECRET_BYTES: Final = 32
_FORMER_AT_MOST: Final = 4
"""Who rotates again and again must not make a header that receivers refuse."""


def event_of(status: JobStatus) -> WebhookEvent:
    """The event that a terminal status is."""
    return cast(WebhookEvent, f"job.{status.value}")


def new_secret() -> str:
    """A secret that nobody has seen."""
    return KEY_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


class FormerSecret(BaseModel):
    """A secret that was replaced, and until when it still signs."""

    secret: str
    until: Moment


class StoredWebhook(Webhook):
    """A webhook as it is stored: signing needs the secret itself.

    Attributes
    ----------
    rotation
        The request that made the secret: done again after a crash, it must not make another.
    """

    secret: str
    former: list[FormerSecret] = Field(default_factory=list[FormerSecret])
    rotation: str | None = None

    def wants(self, job: JobSummary) -> bool:
        """Whether the end of a job is told to this webhook."""
        # After a loss of Redis all ended jobs are looked at again, those too that ended while it was disabled.
        since = max(self.created_at, self.enabled_at or self.created_at)
        return (
            self.disabled_at is None
            and job.finished_at is not None
            and job.finished_at >= since
            and event_of(job.status) in self.events
        )

    def signing(self, moment: datetime) -> list[str]:
        """The secrets that sign at a moment, the newest first."""
        return [self.secret, *(former.secret for former in self.former if former.until > moment)]

    def rotated(self, rotation: str, moment: datetime) -> Self:
        """The same webhook with a new secret."""
        former = [FormerSecret(secret=self.secret, until=moment + OVERLAP)]
        former += [one for one in self.former if one.until > moment]
        update = {"secret": new_secret(), "former": former[:_FORMER_AT_MOST], "rotation": rotation}
        return self.model_copy(update=update)
