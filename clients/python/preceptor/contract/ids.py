"""Identifiers: prefixed, sortable by creation time, or derived from content."""

import hashlib
import os
import re
import time
from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import StringConstraints

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case
_BODY: Final = "[0-9a-hjkmnp-tv-z]{26}"

TEACHER: Final = "tch"
LABEL_SET: Final = "lbl"
PROBE: Final = "prb"
STUDENT: Final = "stu"
REQUEST: Final = "req"
WEBHOOK: Final = "whk"
MESSAGE: Final = "msg"

JobKind = Literal["recommendation", "distillation", "validation"]
JOB_PREFIXES: Final[dict[JobKind, str]] = {"recommendation": "rec", "distillation": "dst", "validation": "val"}
RECOMMENDATION: Final = JOB_PREFIXES["recommendation"]
DISTILLATION: Final = JOB_PREFIXES["distillation"]
VALIDATION: Final = JOB_PREFIXES["validation"]

TeacherId = Annotated[str, StringConstraints(pattern=f"^{TEACHER}_{_BODY}$")]
LabelSetId = Annotated[str, StringConstraints(pattern=f"^{LABEL_SET}_{_BODY}$")]
ProbeId = Annotated[str, StringConstraints(pattern=f"^{PROBE}_{_BODY}$")]
RecommendationId = Annotated[str, StringConstraints(pattern=f"^{RECOMMENDATION}_{_BODY}$")]
DistillationId = Annotated[str, StringConstraints(pattern=f"^{DISTILLATION}_{_BODY}$")]
StudentId = Annotated[str, StringConstraints(pattern=f"^{STUDENT}_{_BODY}$")]
WebhookId = Annotated[str, StringConstraints(pattern=f"^{WEBHOOK}_{_BODY}$")]
MessageId = Annotated[str, StringConstraints(pattern=f"^{MESSAGE}_{_BODY}$")]
JobId = Annotated[str, StringConstraints(pattern=f"^({'|'.join(JOB_PREFIXES.values())})_{_BODY}$")]


def _encode(number: int) -> str:
    digits: list[str] = []
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def new_id(prefix: str) -> str:
    """A new identifier: 48 bits of Unix milliseconds, then 80 random bits, in base 32."""
    milliseconds = time.time_ns() // 1_000_000
    return f"{prefix}_{_encode(milliseconds << 80 | int.from_bytes(os.urandom(10), 'big'))}"


def content_id(prefix: str, parts: Iterable[bytes]) -> str:
    """An identifier derived from content: equal content has the same identifier.

    Each part is hashed together with its length, so that ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest_id(prefix, digest.hexdigest())


def digest_id(prefix: str, sha256_hex: str) -> str:
    """The content identifier for a SHA-256 digest (its first 128 bits)."""
    return f"{prefix}_{_encode(int(sha256_hex[:32], 16))}"


def is_id(prefix: str, value: str) -> bool:
    """Whether `value` has the form of an identifier with this prefix."""
    return re.fullmatch(f"{prefix}_{_BODY}", value) is not None
