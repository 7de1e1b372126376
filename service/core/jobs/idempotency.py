"""What an Idempotency-Key stands for: the request it came with, the id it reserved, the answer it got.

The id is reserved before anything is written: a request repeated after a crash, or while
the first is still being worked on, acts under the same id and so does nothing twice.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from ..errors import IdempotencyMismatch
from ..redis import keys
from ..redis.client import RedisClient, translated

# KEYS: entry, expiring. ARGV: fingerprint, fresh id, ttl ms.
_BEGIN: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local known = redis.call('HGET', KEYS[1], 'fingerprint')
if known then
  if known ~= ARGV[1] then return {'mismatch', '', ''} end
  local id = redis.call('HGET', KEYS[1], 'id')
  local answer = redis.call('HGET', KEYS[1], 'answer')
  if answer then return {'done', id, answer} end
  return {'resumed', id, ''}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'id', ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[3], KEYS[1])
return {'new', ARGV[2], ''}
"""

# KEYS: entry. ARGV: id, answer. The first answer stands; of a key that was reserved anew since, none is written.
_COMPLETE: Final = """
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 0 end
return redis.call('HSETNX', KEYS[1], 'answer', ARGV[2])
"""

# KEYS: entry. ARGV: id.
_ABANDON: Final = """
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] or redis.call('HEXISTS', KEYS[1], 'answer') == 1 then return 0 end
return redis.call('DEL', KEYS[1])
"""


@dataclass(frozen=True)
class StoredAnswer:
    """An answer as it was given. `body` is None where it is made again from its resource."""

    status: int
    headers: dict[str, str]
    body: str | None


@dataclass(frozen=True)
class Begun:
    """What to do with a request: act under `id` (`new`, `resumed`), or repeat `answer` (`done`)."""

    state: Literal["new", "resumed", "done"]
    id: str
    answer: StoredAnswer | None


class Idempotency:
    """All Idempotency-Keys of the last `ttl` seconds."""

    def __init__(self, client: RedisClient, ttl: int) -> None:
        self._client = client
        self._ttl = ttl
        self._begin = client.register_script(_BEGIN)
        self._complete = client.register_script(_COMPLETE)
        self._abandon = client.register_script(_ABANDON)

    async def begin(self, scope: str, key: str, fingerprint: str, fresh_id: str) -> Begun:
        """Look a key up, or reserve it.

        Parameters
        ----------
        scope
            Caller, method and path: the same key elsewhere is another key.
        fingerprint
            Digest of the request's content.
        fresh_id
            The id to reserve where the key is new.

        Raises
        ------
        IdempotencyMismatch
            The key was used with another content.
        """
        entry = _entry(scope, key)
        with translated():
            state, id, answer = cast(
                "tuple[str, str, str]",
                await self._begin(
                    keys=[entry, keys.EXPIRING],
                    args=[fingerprint, fresh_id, self._ttl * 1000],
                ),
            )
        if state == "mismatch":
            raise IdempotencyMismatch(
                f"The Idempotency-Key {key!r} was used with another request in the last "
                f"{self._ttl // 3600} hours. Use a new key for a new request"
            )
        stored = _stored(answer)
        # An answer that cannot be read is made again, under the same id.
        return Begun("resumed" if state == "done" and stored is None else cast(Any, state), id, stored)

    async def complete(self, scope: str, key: str, id: str, answer: StoredAnswer) -> None:
        """Remember the answer of the request that acted under `id`; of two that were sent at once, the first."""
        text = json.dumps({"status": answer.status, "headers": answer.headers, "body": answer.body})
        with translated():
            await self._complete(keys=[_entry(scope, key)], args=[id, text])

    async def abandon(self, scope: str, key: str, id: str) -> None:
        """Forget a request that was refused: sent again, it is looked at again."""
        with translated():
            await self._abandon(keys=[_entry(scope, key)], args=[id])


def _stored(text: str) -> StoredAnswer | None:
    """An answer as `complete` has written it; None where there is none, or it is something else."""
    try:
        found = json.loads(text)
        status, headers, body = found["status"], found["headers"], found["body"]
        if type(status) is not int or not 200 <= status < 600 or not (body is None or isinstance(body, str)):
            return None
        for name, value in headers.items():
            if not (name.isascii() and name.isprintable() and value.isprintable()):
                return None
            value.encode("latin-1")
        if body is not None:
            body.encode()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return StoredAnswer(status, headers, body)


def _entry(scope: str, key: str) -> str:
    return keys.idempotency(hashlib.sha256(f"{scope}\0{key}".encode()).hexdigest())
