"""The signature of a message: HMAC-SHA256, as Standard Webhooks has it (symmetric signatures, `v1`)."""

import base64
import hashlib
import hmac
from collections.abc import Iterable

from service.core.webhooks.stored import KEY_PREFIX


def signatures(secrets: Iterable[str], id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature for each secret. A receiver takes any that it can verify."""
    return " ".join(signature(secret, id, timestamp, body) for secret in secrets)


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """The signature with one secret.

    Parameters
    ----------
    secret
        `whsec_` and the base64 of the key.
    timestamp
        Unix seconds of this attempt; receivers refuse old ones.
    """
    key = base64.b64decode(secret.removeprefix(KEY_PREFIX))
    signed = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
