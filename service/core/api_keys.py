"""API keys: created once, kept as digests, looked up by their id.

A key reads `<id>.<secret>`. The secret has 256 random bits, so one round of SHA-256 is as strong as it is: a slow hash
is for passwords, which can be guessed. Keys are kept in the store, so that a lost Redis locks nobody out.
Own code: libraries for API keys need a database of their own.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from cachetools import LRUCache
from pydantic import BaseModel

from preceptor.contract.base import Moment, now
from preceptor.contract.ids import is_id, new_id

from .errors import StoreFull, StoreUnavailable
from .storage.damaged_objects import readable
from .storage.object_store import Store


@dataclass(frozen=True)
class Caller:
    """Who sends a request: an API key, or the subject of tokens.

    Attributes
    ----------
    max_jobs
        Most jobs without an end that the caller may have; 0 for no limit.
    """

    key: str
    max_jobs: int


CALLER: Final[ContextVar[Caller | None]] = ContextVar("caller", default=None)
"""None where the service asks for no keys."""


Scope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "write", "admin")
"""Each one includes those before it."""

PREFIX: Final = "key"
_FOLDER: Final = "keys/"
_MINTED: Final = "keys-were-minted"
_MARK: Final = b"Requests need an API key since the first one was minted; PRECEPTOR_AUTH=off is the way back.\n"
_FRESH_SECONDS: Final = 5.0
"""A revoked key is refused at the latest after so long."""

_REMEMBERED: Final = 4096


_NAME_LENGTH: Final = 200


class InvalidKey(Exception):
    """A key cannot be created as asked; the message says why and what to do."""


class ApiKey(BaseModel):
    """A key as it is stored: without its secret.

    Attributes
    ----------
    replaced_by
        Id of the key that was created in its place.
    """

    id: str
    name: str
    scope: Scope
    sha256: str
    created_at: Moment
    expires_at: Moment | None = None
    max_jobs: int = 0
    replaced_by: str | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether the key may do what needs this scope."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now()


class ApiKeys:
    """All keys of a deployment."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: LRUCache[str, tuple[float, ApiKey | None]] = LRUCache(_REMEMBERED)

    async def mint(
        self, name: str, scope: Scope, *, lifetime: timedelta | None = None, max_jobs: int = 0
    ) -> tuple[ApiKey, str]:
        """A new key, and the text that its owner sends. The text is kept nowhere.

        Raises
        ------
        InvalidKey
            The name is empty, too long, or cannot be shown on one line.
        """
        _check(name)
        return await self._create(name, scope, lifetime, max_jobs)

    async def _create(self, name: str, scope: Scope, lifetime: timedelta | None, max_jobs: int) -> tuple[ApiKey, str]:
        secret = secrets.token_urlsafe(32)
        moment = now()
        key = ApiKey(
            id=new_id(PREFIX),
            name=name,
            scope=scope,
            sha256=_digest(secret),
            created_at=moment,
            expires_at=None if lifetime is None else moment + lifetime,
            max_jobs=max_jobs,
        )
        await self._store.put(_place(key.id), key.model_dump_json().encode())
        await self._store.put(_MINTED, _MARK)
        return key, f"{key.id}.{secret}"

    async def rotate(self, id: str, grace: timedelta) -> tuple[ApiKey, str] | None:
        """A new key in the place of one, which stays valid for the time of grace. None where there is no such key.

        Raises
        ------
        InvalidKey
            It has expired or was replaced already: a new key would have what is left of its lifetime.
        """
        old = await self._read(id)
        if old is None:
            return None
        if old.replaced_by is not None:
            raise InvalidKey(f"The key {id} was replaced by {old.replaced_by} already; rotate that one")
        if old.expired:
            raise InvalidKey(f"The key {id} has expired; create a new one")
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        made = await self._create(old.name, old.scope, lifetime, old.max_jobs)
        until = now() + grace
        if old.expires_at is not None:
            until = min(until, old.expires_at)
        replaced = old.model_copy(update={"expires_at": until, "replaced_by": made[0].id})
        await self._store.put(_place(id), replaced.model_dump_json().encode())
        return made

    async def revoke(self, id: str) -> bool:
        """End a key. False where there is none."""
        if await self._read(id) is None:
            return False
        await self._store.put(_MINTED, _MARK)  # A key of a release that left no mark may be the last.
        await self._store.delete(_place(id))
        self._known.pop(id, None)
        return True

    async def all(self) -> AsyncIterator[ApiKey]:
        """Every key, in no order."""
        async for path in self._store.list(_FOLDER):
            key = readable(ApiKey, path, await self._store.get(path))
            if key is not None:
                yield key

    async def ever(self) -> bool:
        """Whether a key was ever minted. Keys that expire or are revoked leave the doors locked."""
        if await self._store.get(_MINTED) is not None:
            return True
        async for _ in self._store.list(_FOLDER):  # Of a release that left no mark; or damaged, which opens nothing.
            return True
        return False

    async def verified(self, text: str) -> ApiKey | None:
        """The key that a caller has sent; None where it is not one of ours, has expired or was revoked.

        Raises
        ------
        StoreUnavailable
            The key was never seen before, and the store does not answer.
        """
        id, _, secret = text.partition(".")
        if not is_id(PREFIX, id) or not secret or len(text) > 200:
            return None
        key = await self._known_or_read(id)
        # Compared in constant time, and also where there is no such key.
        same = hmac.compare_digest(_digest(secret), key.sha256 if key is not None else _digest(""))
        return key if key is not None and same and not key.expired else None

    async def _known_or_read(self, id: str) -> ApiKey | None:
        moment = time.monotonic()
        known = self._known.get(id)
        if known is not None and moment - known[0] < _FRESH_SECONDS:
            return known[1]
        try:
            key = await self._read(id)
        except (StoreUnavailable, StoreFull):
            if known is None:
                raise
            return known[1]  # Who was let in a moment ago is not locked out by an outage.
        self._known[id] = (moment, key)
        return key

    async def _read(self, id: str) -> ApiKey | None:
        if not is_id(PREFIX, id):
            return None
        return readable(ApiKey, _place(id), await self._store.get(_place(id)))


def _check(name: str) -> None:
    if not name.strip():
        raise InvalidKey("The name is empty; name whom the key is for")
    if len(name) > _NAME_LENGTH:
        raise InvalidKey(f"The name has {len(name):,} characters; give at most {_NAME_LENGTH}")
    if not name.isprintable():
        raise InvalidKey(
            f"The name {name!a} holds a line break or another character that cannot be shown; leave it out"
        )


def _place(id: str) -> str:
    return f"{_FOLDER}{id}.json"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
