"""Reads a job's record, and writes its end: to the store first, once, then to Redis.

The outcome in the store is created, never replaced. Whoever creates it has ended the job; whoever comes later, a
worker that was thought dead or one that repeats itself after an outage, finds it and adopts it.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

from redis.commands.core import AsyncScript

from preceptor.contract.job_kinds import JOB_KINDS
from preceptor.contract.jobs import JobStatus, JobSummary
from preceptor.contract.versions import full_form
from service.core.async_helpers import OneByOne

from ..errors import PreceptorError
from ..lanes import Lane
from ..redis import keys
from ..redis.client import RedisClient, translated
from ..settings import Settings
from ..storage.damaged_objects import readable
from ..storage.object_store import Store
from . import scripts
from .document_cache import Recent
from .queue import Lanes
from .stored import (
    StoredOutcome,
    StoredRequest,
    delivery_folder,
    folder,
    outcome_key,
    request_key,
    result_key,
    script_keys,
    summary_of,
)

_KEPT_REQUESTS: Final = 8 * 2**20
"""Bytes of requests that are kept in memory: who submits a job or watches one asks for it again at once."""


class JobRecords:
    """What the service and the workers share.

    Parameters
    ----------
    ensure_index
        Called before a missing job is reported: rebuilds a lost index.
    drop_student
        Removes a student that a lost delivery has left behind.
    """

    def __init__(
        self,
        store: Store,
        client: RedisClient,
        lanes: Lanes,
        settings: Settings,
        ensure_index: Callable[[], Awaitable[None]],
        drop_student: Callable[[str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._client = client
        self._lanes = lanes
        self._settings = settings
        self._ensure_index = ensure_index
        self._drop_student = drop_student
        self._registered: dict[str, AsyncScript] = {}
        self._one_by_one = OneByOne()
        self._requests = Recent(_KEPT_REQUESTS)
        self._waits: dict[Lane, int] = {}  # How many waited in each lane when it was last seen.

    async def get(self, id: str) -> JobSummary | None:
        """A job without its request and result, or None."""
        fields = await self._fields(id)
        if not fields:
            await self._ensure_index()
            fields = await self._fields(id)
        return summary_of(fields) if fields else None

    async def stored(self, id: str) -> StoredRequest | None:
        """What the store has of an accepted job; its `request` may lack fields that are at their defaults.

        Raises
        ------
        PreceptorError
            It cannot be read.
        """
        text = await self._store.get(request_key(id))
        found = readable(StoredRequest, request_key(id), text)
        if found is None and text is not None:
            raise PreceptorError(
                f"What the store has of {id} cannot be read: its disk or host has failed. Send the request again, or "
                "restore the store from a backup"
            )
        return found

    async def request(self, id: str) -> dict[str, Any] | None:
        """The job's request, as it was accepted, with all defaults."""
        stored = await self.stored(id)
        return None if stored is None else full_form(JOB_KINDS[stored.kind].body, stored.request)

    async def request_text(self, id: str) -> bytes | None:
        """The job's request as JSON. It never changes, so it is read once by all who watch the job."""
        known = self._requests.get(id)
        if known is None:
            request = await self.request(id)
            known = None if request is None else self._keep_request(id, request)
        return known

    async def trace(self, id: str) -> str:
        """The `traceparent` of the request that submitted the job; empty where it was not traced."""
        with translated():
            return await cast(Any, self._client.hget(keys.job(id), "trace")) or ""

    async def result(self, id: str) -> bytes | None:
        """The result document of a job that has succeeded; None for all others."""
        fields = await self._fields(id)
        if fields.get("status") == JobStatus.SUCCEEDED:
            return await self._store.get(result_key(id, int(fields["result_fence"])))
        # Redis may have lost the record since the caller saw it.
        outcome = await self.outcome(id)
        if outcome is None or outcome.status != JobStatus.SUCCEEDED:
            return None
        return await self._store.get(result_key(id, outcome.fence or 0))

    async def outcome(self, id: str) -> StoredOutcome | None:
        """How the job has ended, as the store has it; None while it has not, or where that cannot be read."""
        return readable(StoredOutcome, outcome_key(id), await self._store.get(outcome_key(id)))

    def _keep_request(self, id: str, request: dict[str, Any]) -> bytes:
        text = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
        self._requests.put(id, text)
        return text

    async def _settle(self, id: str, outcome: StoredOutcome) -> bool:
        """End a job. False where it had another end already, which then stands."""
        text = outcome.model_dump_json().encode()
        ours = await self._store.create(outcome_key(id), text)
        if not ours:
            existing = await self.outcome(id)
            if existing is None:  # Written by half when a host lost power.
                await self._store.put(outcome_key(id), text)
            ours = existing is None or (existing.status, existing.fence) == (outcome.status, outcome.fence)
            outcome = existing or outcome
        await self._adopt(id, outcome)
        return ours

    async def _adopt(self, id: str, outcome: StoredOutcome) -> None:
        """Write the stored end into the record, and remove what other deliveries have left."""
        await self._script(
            scripts.SETTLE,
            id,
            outcome.status.value,
            outcome.error.model_dump_json() if outcome.error else "",
            outcome.finished_at_ms,
            outcome.fence or 0,
            outcome.deliveries,
            self._settings.event_seconds,
            more_keys=[keys.UNSWEPT, keys.UNANNOUNCED],
        )
        await self.sweep(id, outcome)
        with translated():
            await cast(Any, self._client.srem(keys.UNSWEPT, id))

    async def sweep(self, id: str, outcome: StoredOutcome) -> None:
        """Remove what an ended job no longer needs: checkpoints, and whatever lost deliveries have written."""
        kept = {request_key(id), outcome_key(id)}
        won = delivery_folder(id, outcome.fence or 0) if outcome.status == JobStatus.SUCCEEDED else None
        if won is not None:
            kept |= {f"{won}result.json", f"{won}student"}
        async for key in self._store.list(folder(id)):
            if key in kept:
                continue
            if key.endswith("/student"):
                left = await self._store.get(key)
                if left is not None:
                    await self._drop_student(left.decode())
            await self._store.delete(key)

    async def _fields(self, id: str) -> dict[str, str]:
        with translated():
            return cast("dict[str, str]", await cast(Any, self._client.hgetall(keys.job(id))))

    async def _script(self, text: str, id: str, *arguments: str | int, more_keys: Sequence[str] = ()) -> Any:
        """Run one of the job scripts."""
        script = self._registered.get(text)
        if script is None:
            script = self._registered[text] = self._client.register_script(text)
        with translated():
            return await script(keys=[*script_keys(id), *more_keys], args=[keys.wake(id), id, *arguments])
