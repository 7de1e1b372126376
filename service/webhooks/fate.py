"""What an attempt was for its message: the one word that metrics, log lines and the webhook's own state go by."""

from typing import Final, Literal

import structlog

from preceptor.contract.webhooks import WebhookDelivery

from .sender import Outcome

Fate = Literal["delivered", "failed", "refused", "gone", "given_up"]
"""`failed` and `refused` (not allowed to go there, or no address) are tried again; the last try is `given_up`."""

_GONE: Final = 410

log = structlog.stdlib.get_logger(__name__)


def delivered(outcome: Outcome) -> bool:
    """Whether the receiver has taken the message."""
    return outcome.status is not None and 200 <= outcome.status < 300


def gone(outcome: Outcome) -> bool:
    """Whether the receiver wants no more messages at all."""
    return outcome.status == _GONE


def fate_of(outcome: Outcome, after: WebhookDelivery) -> Fate:
    """What an attempt was, after which a delivery stands so."""
    if delivered(outcome):
        return "delivered"
    if gone(outcome):
        return "gone"
    if after.status == "failed":
        return "given_up"
    return "refused" if outcome.refused else "failed"


def tell(fate: Fate, outcome: Outcome, after: WebhookDelivery) -> None:
    """One line for an attempt that failed. It holds ids and the reason: an address may have a secret in its query."""
    reason = outcome.error if outcome.status is None else f"its address answered {outcome.status}"
    found = {"webhook": after.webhook, "message": after.id, "reason": reason, "tries": after.tries}
    if fate == "given_up":
        log.warning("webhook delivery given up", **found)
    elif fate == "gone":
        log.warning("webhook disabled: its address answered 410", **found)
    elif fate != "delivered":
        log.info("webhook attempt failed", next_attempt_at=str(after.next_attempt_at), **found)
