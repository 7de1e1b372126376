"""Durable documents: teachers, probes, label sets, students. The store is authoritative; Redis holds an index."""

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeVar, cast

from pydantic import BaseModel
from redis.commands.core import AsyncScript

from preceptor.contract.base import Moment

from ..errors import Conflict, InvalidRequest
from ..redis import keys as redis_keys
from ..redis.client import RedisClient, translated
from ..redis.locks import exclusive
from .damaged_objects import readable
from .object_store import Store

# KEYS: revision, changes. ARGV: document id.
_CHANGED: Final = """
redis.call('ZREM', KEYS[2], ARGV[1])  -- Frees memory first, so that a document can be removed from a full Redis.
redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[1]), ARGV[1])
"""


BYTES: Final = 4 * 2**20
"""Limit for the documents of one page, and for those read at once. At least one document is read, of any size."""

# KEYS: hash of documents. ARGV: bytes, id, ...
_READ_FIRST: Final = """
local found, size = {}, 0
for place = 2, #ARGV do
  local text = redis.call('HGET', KEYS[1], ARGV[place])
  if text then
    size = size + #text
    if place > 2 and size > tonumber(ARGV[1]) then break end
  end
  found[place - 1] = text
end
return found
"""


class DocumentReader:
    """Reads documents from the front of a list of ids, up to `BYTES`.

    Parameters
    ----------
    key
        The Redis hash of the documents.
    """

    def __init__(self, client: RedisClient, key: str) -> None:
        self._key = key
        self._script: AsyncScript = client.register_script(_READ_FIRST)

    async def first(self, ids: list[str]) -> list[str | None]:
        """The texts of the first ids, at least one; None for a document that does not exist."""
        if not ids:
            return []
        with translated():
            return cast("list[str | None]", await cast(Any, self._script)(keys=[self._key], args=[BYTES, *ids]))


Collection = Literal["teachers", "probes", "label-sets", "students", "audits", "webhooks"]

_SCAN: Final = 200
"""Documents read at once while a filter is applied."""


class Revision(NamedTuple):
    """A state of a collection: which index (a lost one is rebuilt), and its number of changes."""

    marker: str
    number: int


class Document(Protocol):
    """Fields that every record has."""

    id: str
    created_at: Moment


DocumentT = TypeVar("DocumentT", bound=BaseModel)


def order_member(created_ms: int, id: str) -> str:
    """The sorted-set member that orders a record by its creation time."""
    return f"{created_ms:013d}:{id}"


def encode_cursor(member: str) -> str:
    """An opaque cursor for a member."""
    return base64.urlsafe_b64encode(member.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The member of a cursor.

    Raises
    ------
    InvalidRequest
        It is not a cursor of this service.
    """
    try:
        member = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, _, id = member.partition(":")
        if len(moment) == 13 and moment.isdigit() and id:
            return member
    except (binascii.Error, ValueError):
        pass
    raise InvalidRequest(f"cursor {cursor[:60]!r} is not a cursor of this service; take it from a page's `next`")


async def page_of_ids(client: RedisClient, key: str, cursor: str | None, count: int) -> list[tuple[str, str]]:
    """Up to `count` pairs (member, id) after a cursor, newest first."""
    start = f"({decode_cursor(cursor)}" if cursor else "+"
    with translated():
        members = cast(list[str], await client.zrevrangebylex(key, start, "-", 0, count))
    return [(member, member.partition(":")[2]) for member in members]


class Records(Generic[DocumentT]):
    """One collection of documents.

    Parameters
    ----------
    collection
        Name in the store and in Redis.
    model
        Pydantic model of a document, with `id` and `created_at`.
    ensure_index
        Called before a document is reported as missing: rebuilds a lost index.
    most
        Maximum number of documents; 0 for no limit.
    """

    def __init__(
        self,
        collection: Collection,
        model: type[DocumentT],
        store: Store,
        client: RedisClient,
        ensure_index: Callable[[], Awaitable[None]],
        *,
        most: int = 0,
    ) -> None:
        self.collection: Collection = collection
        self._model = model
        self._store = store
        self._client = client
        self._ensure_index = ensure_index
        self._reader = DocumentReader(client, redis_keys.record(collection))
        self.most = most
        self._unasked = 0  # How many documents may be created before they are counted again.

    def folder(self, id: str) -> str:
        """Prefix of all objects of a document in the store."""
        return f"{self.collection}/{id}/"

    async def put(self, document: DocumentT) -> None:
        """Write a document: to the store, then to the index."""
        text = document.model_dump_json()
        await self._store.put(self._document_key(_id(document)), text.encode())
        await self.index(document, text)

    async def create(self, document: DocumentT) -> tuple[DocumentT, bool]:
        """Write a new document; if its id exists, return the existing document and False.

        Raises
        ------
        Conflict
            The maximum number of documents is reached.
        """
        key = self._document_key(_id(document))
        if self.most and await self._is_full():
            known = await self.get(_id(document))
            if known is not None:
                return known, False
            raise self._full()
        text = document.model_dump_json()
        if await self._store.create(key, text.encode()):
            await self.index(document, text)
            return document, True
        existing = await self._indexed(_id(document))
        if existing is not None:
            return existing, False
        found = await self.stored(_id(document))  # In the store, but a crash prevented indexing.
        if found is None:  # Deleted meanwhile, or truncated when the host lost power.
            await self._store.put(key, document.model_dump_json().encode())
        await self.index(found or document)
        return found or document, found is None

    async def require_room(self) -> None:
        """Check the limit before files are written into a new document's folder: nothing would remove them.

        Raises
        ------
        Conflict
            The maximum number of documents is reached.
        """
        if self.most and await self._is_full():
            raise self._full()

    async def index(self, document: DocumentT, text: str | None = None) -> None:
        """Write a document to the index only; `text` is its JSON, where that is at hand.

        A document with `expires_at` is found by its id only: no list shows it.
        """
        created_ms = int(cast(Document, document).created_at.timestamp() * 1000)
        with translated():
            async with self._client.pipeline() as pipeline:
                pipeline.hset(redis_keys.record(self.collection), _id(document), text or document.model_dump_json())
                expires_at: datetime | None = getattr(document, "expires_at", None)
                if expires_at is None:
                    pipeline.zadd(redis_keys.order(self.collection), {order_member(created_ms, _id(document)): 0})
                else:
                    moment = int(expires_at.timestamp() * 1000)
                    pipeline.zadd(redis_keys.passing(self.collection), {_id(document): moment})
                self._note(pipeline, _id(document))
                await pipeline.execute()

    async def get(self, id: str) -> DocumentT | None:
        """A document, or None if it does not exist in the index or in the store."""
        return await self._indexed(id) or await self.stored(id)

    async def _indexed(self, id: str) -> DocumentT | None:
        text = await self._raw(id)
        if text is None:
            await self._ensure_index()
            text = await self._raw(id)
        return None if text is None else self._model.model_validate_json(text)

    async def stored(self, id: str) -> DocumentT | None:
        """A document from the store, independent of the index."""
        key = self._document_key(id)
        return readable(self._model, key, await self._store.get(key))

    async def get_many(self, ids: list[str]) -> dict[str, DocumentT]:
        """The existing documents among these ids."""
        await self._ensure_index()
        if not ids:
            return {}
        with translated():
            found = cast(list[str | None], await self._client.hmget(redis_keys.record(self.collection), ids))
        return {
            id: self._model.model_validate_json(text) for id, text in zip(ids, found, strict=True) if text is not None
        }

    async def page(
        self, cursor: str | None, limit: int, keep: Callable[[DocumentT], bool] | None = None
    ) -> tuple[list[DocumentT], str | None]:
        """One page of the documents that `keep` accepts, newest first, and the next cursor or None.

        A page ends early if its documents would exceed `BYTES` together.
        """
        await self._ensure_index()
        items: list[DocumentT] = []
        size = 0
        last = cursor
        count = limit + 1 if keep is None else _SCAN
        while True:
            rows = await page_of_ids(self._client, redis_keys.order(self.collection), last, count)
            complete = len(rows) < count
            while rows:
                texts = await self._reader.first([id for _, id in rows])
                for (member, _), text in zip(rows, texts, strict=False):
                    document = None if text is None else self._model.model_validate_json(text)
                    if text is not None and document is not None and (keep is None or keep(document)):
                        size += len(text.encode())
                        if len(items) == limit or (items and size > BYTES):
                            return items, last
                        items.append(document)
                    last = encode_cursor(member)
                rows = rows[len(texts) :]
            if complete:
                return items, None

    async def all(self) -> AsyncIterator[DocumentT]:
        """Every document, newest first."""
        cursor: str | None = None
        while True:
            items, cursor = await self.page(cursor, _SCAN)
            for item in items:
                yield item
            if cursor is None:
                return

    async def delete(self, id: str) -> None:
        """Remove a document and its files. The index is last: after a crash, deleting again completes the removal."""
        await self._store.delete(self._document_key(id))
        await self._store.delete_prefix(self.folder(id))
        await self._unindex(id)

    async def expired(self, moment_ms: int, count: int = 100) -> list[str]:
        """Up to `count` ids of documents whose `expires_at` lies before a moment (ms)."""
        key = redis_keys.passing(self.collection)
        with translated():
            return cast(
                "list[str]",
                await cast(Any, self._client).zrange(key, "-inf", moment_ms, byscore=True, offset=0, num=count),
            )

    async def changes(self, since: Revision | None) -> tuple[Revision, list[str] | None]:
        """The ids of documents written or deleted since a revision.

        Parameters
        ----------
        since
            From an earlier call; None for the first one.

        Returns
        -------
        tuple
            The current revision, and the ids; None if all documents must be read: at first, and after a loss of Redis.
        """
        await self._ensure_index()
        keys = redis_keys.changes(self.collection), redis_keys.revision(self.collection)
        with translated():
            async with self._client.pipeline() as pipeline:
                pipeline.get(redis_keys.MARKER)
                pipeline.get(keys[1])
                first = f"({since.number}" if since else "+inf"
                pipeline.zrangebyscore(keys[0], first, "+inf")  # pyright: ignore[reportUnknownMemberType]
                marker, number, ids = await pipeline.execute()
        present = Revision(marker or "", int(number or 0))
        if since is None or since.marker != present.marker or present.number < since.number:
            return present, None
        return present, ids

    def _note(self, pipeline: Any, id: str) -> None:
        pipeline.eval(_CHANGED, 2, redis_keys.revision(self.collection), redis_keys.changes(self.collection), id)

    @asynccontextmanager
    async def lock(self, id: str, part: str = "") -> AsyncGenerator[None]:
        """Exclude other writers of one document, or of what belongs to it.

        Parameters
        ----------
        part
            What of it, where that is changed apart from the document itself; another part is another lock.

        Raises
        ------
        StateUnavailable
            Another has held it for 15 seconds.
        """
        async with exclusive(
            self._client,
            redis_keys.record_lock(self.collection, f"{id}/{part}" if part else id),
            seconds=30,
            wait=15,
            busy=f"{id} is being changed by another request; try again",
            poll=0.02,
        ):
            yield

    async def reindex(self) -> int:
        """Read every document from the store into the index. Returns their number."""
        count = 0
        async for key in self._store.list(f"{self.collection}/"):
            if key.endswith("/record.json"):
                document = readable(self._model, key, await self._store.get(key))
                if document is not None:
                    await self.index(document)
                    count += 1
        return count

    async def compare(self) -> int:
        """Repair the index where it differs from the store. Returns the number of differences."""
        with translated():
            indexed = set(cast("list[str]", await cast(Any, self._client.hkeys(redis_keys.record(self.collection)))))
        wrong = 0
        async for key in self._store.list(f"{self.collection}/"):
            if key.endswith("/record.json"):
                id = key.split("/")[1]
                indexed.discard(id)
                wrong += await self._repair(id)
        for id in indexed:
            wrong += await self._repair(id)
        return wrong

    async def _repair(self, id: str) -> bool:
        if await self._agrees(id):
            return False
        async with self.lock(id):  # They also differ between a writer's two steps: wait for the writer.
            if await self._agrees(id):
                return False
            document = await self.stored(id)
            if document is None:
                await self._unindex(id)
            else:
                await self.index(document)
        return True

    async def _agrees(self, id: str) -> bool:
        stored = await self._store.get(self._document_key(id))
        return await self._raw(id) == (None if stored is None else stored.decode())

    async def _unindex(self, id: str) -> None:
        document_member = await self._member(id)
        with translated():
            async with self._client.pipeline() as pipeline:
                pipeline.hdel(redis_keys.record(self.collection), id)
                pipeline.zrem(redis_keys.passing(self.collection), id)
                if document_member:
                    pipeline.zrem(redis_keys.order(self.collection), document_member)
                self._note(pipeline, id)
                await pipeline.execute()

    async def _is_full(self) -> bool:
        """Whether the limit is reached. Far below it, the documents are counted at every hundredth creation only."""
        if self._unasked > 0:
            self._unasked -= 1
            return False
        with translated():
            left = self.most - await self._client.zcard(redis_keys.order(self.collection))
            left -= await self._client.zcard(redis_keys.passing(self.collection))
        self._unasked = min(left // 10, 100)
        return left <= 0

    def _full(self) -> Conflict:
        name = self.collection.replace("-", "_").upper()
        return Conflict(
            f"There are {self.most:,} {self.collection.replace('-', ' ')}, the maximum. Nothing was accepted; remove "
            f"some with DELETE /v1/{self.collection}/<id>, or have the operator raise PRECEPTOR_MAX_{name}"
        )

    def _document_key(self, id: str) -> str:
        return f"{self.folder(id)}record.json"

    async def _raw(self, id: str) -> str | None:
        with translated():
            return cast(str | None, await self._client.hget(redis_keys.record(self.collection), id))

    async def _member(self, id: str) -> str | None:
        text = await self._raw(id)
        if text is None:
            return None
        document = self._model.model_validate_json(text)
        return order_member(int(cast(Document, document).created_at.timestamp() * 1000), id)


def _id(document: BaseModel) -> str:
    return cast(Document, document).id
