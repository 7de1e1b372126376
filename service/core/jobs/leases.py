"""A worker's side of a job: take it, keep it, write under its fence, end it or hand it back."""

import json
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from preceptor.contract.jobs import JobStatus
from preceptor.contract.problem import Problem
from preceptor.contract.versions import CONTRACT

from ..lanes import Lane
from ..redis import keys
from ..redis.client import translated
from . import scripts
from .backend import JobBackend
from .records import JobRecords
from .stored import StoredOutcome, checkpoint_key, delivery_folder, folder, result_key, student_key

TakeCode = Literal["taken", "exhausted", "canceling", "held", "delayed", "newer", "ended", "unknown", "full"]


@dataclass(frozen=True)
class Taken:
    """A worker's attempt to take a job: what came of it, and the fence under which it may write.

    Attributes
    ----------
    caller
        Who submitted the job; empty where that is not known.
    quick
        Whether it is expected to take milliseconds.
    """

    code: TakeCode
    fence: int
    deliveries: int
    caller: str = ""
    quick: bool = False


class Room(Protocol):
    """What a worker can begin now."""

    @property
    def any_free(self) -> bool:
        """Whether a job of any length may begin."""
        ...

    @property
    def quick_free(self) -> bool:
        """Whether a quick job may begin."""
        ...

    def excluded(self, *, quick: bool) -> set[str]:
        """Callers none of whose jobs may begin; with `quick`, none of whose quick jobs may."""
        ...


@dataclass(frozen=True)
class _Next:
    id: str
    caller: str
    quick: bool
    waits: bool


class Leases:
    """The writes of workers. Each carries the fence of a delivery, and is refused once a later one has begun.

    Parameters
    ----------
    backend
        Where jobs are kept and delivered.
    records
        The records of the same backend.
    """

    def __init__(self, backend: JobBackend, records: JobRecords) -> None:
        self._backend = backend
        self._records = records
        self._store = backend.store
        self._client = backend.client

    async def take(self, id: str, owner: str) -> Taken:
        """Take a job by raising its fence; everything an earlier owner writes from now on is refused.

        Parameters
        ----------
        owner
            Names this very attempt: the same owner may ask twice and gets the same answer.
        """
        code, fence, deliveries = await self._backend.script(
            scripts.TAKE,
            id,
            owner,
            int(self._backend.settings.lease_seconds * 1000),
            self._backend.settings.delivery_limit,
        )
        return Taken(code, int(fence), int(deliveries))

    async def take_next(self, lane: Lane, message: str, owner: str, room: Room | None = None) -> tuple[str, Taken]:
        """Take the job whose turn it is: a message says that one waits, and not which.

        Parameters
        ----------
        message
            The job that the message was sent for: taken where no turn is known, and the answer where none is taken.
            `newer`: that job needs a newer worker, and no other waits.
        room
            What the worker has room for now; `full` where jobs wait and none of them fits. None takes any job.
        """
        while True:
            found = None
            if room is None or room.any_free:
                found = await self._next(lane, set() if room is None else room.excluded(quick=False), quick=False)
            if room is not None and room.quick_free and (found is None or not found.id):
                found = await self._next(lane, room.excluded(quick=True), quick=True)
            if found is None or (not found.id and found.waits):
                return message, Taken("full", 0, 0)
            if not found.id:
                return message, await self.take(message, owner)
            taken = await self.take(found.id, owner)
            # Else another worker was faster, or it has ended: either way its turn is over.
            if taken.code in ("taken", "exhausted", "canceling"):
                return found.id, replace(taken, caller=found.caller, quick=found.quick)

    async def _next(self, lane: Lane, excluded: set[str], *, quick: bool) -> _Next:
        script = self._backend.registered(scripts.NEXT)
        with translated():
            id, caller, is_quick, waits = await script(
                keys=[keys.turns(lane)], args=[CONTRACT, int(quick), *sorted(excluded)]
            )
        return _Next(id, caller, bool(is_quick), bool(waits))

    async def renew(self, id: str, fence: int) -> Literal["running", "canceling", "lost"]:
        """Prolong the lease. `lost`: another worker has the job; `canceling`: stop, and finish as canceled."""
        return await self._backend.script(scripts.RENEW, id, fence, int(self._backend.settings.lease_seconds * 1000))

    async def count(self, id: str, fence: int, by: Literal[1, -1]) -> None:
        """Count a delivery less while it waits inside of its worker, and once more when it begins."""
        await self._backend.script(scripts.COUNT, id, fence, by)

    async def emit(self, id: str, fence: int, event: str, data: dict[str, Any]) -> bool:
        """Append to the job's event log; `progress` also becomes part of the record. False where refused."""
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return bool(await self._backend.script(scripts.EMIT, id, fence, event, text, 1 if event == "progress" else 0))

    async def save_checkpoint(self, id: str, fence: int, state: bytes) -> bool:
        """Keep the state of a running job. False, and nothing left behind, where the fence is stale."""
        if await self.renew(id, fence) == "lost":
            return False
        key = checkpoint_key(id, fence)
        await self._store.put(key, state)
        if await self._backend.script(scripts.SAVED, id, fence, key):
            return True
        if (
            await self._records.outcome(id) is not None
        ):  # Else the next owner may go on from it, and removes it at the end.
            await self._store.delete(key)
        return False

    async def load_checkpoint(self, id: str, fence: int) -> bytes | None:
        """The last state that an owner of the job has kept; None where there is none, or the fence is stale."""
        if await self.renew(id, fence) == "lost":
            return None
        fields = await self._backend.fields(id)
        key = fields.get("checkpoint")
        if key is None:  # Redis may have lost the name; the store still has the states, each under its fence.
            kept = [key async for key in self._store.list(folder(id)) if key.endswith("/checkpoint")]
            key = max(kept, key=lambda name: int(name.split("/")[-2]), default=None)
        return None if key is None else await self._store.get(key)

    async def note_student(self, id: str, fence: int, student: str) -> None:
        """Remember which student this delivery writes: it goes with the delivery if that does not end the job."""
        await self._store.put(student_key(id, fence), student.encode())

    async def succeed(self, id: str, fence: int, result: BaseModel) -> bool:
        """End a job with its result. False, and nothing left behind, where the fence is stale."""
        if await self.renew(id, fence) != "lost":
            await self._store.put(result_key(id, fence), result.model_dump_json().encode())
        return await self._end(id, fence, JobStatus.SUCCEEDED, None)

    async def fail(self, id: str, fence: int, problem: Problem) -> bool:
        """End a job with a reason. False where the fence is stale."""
        return await self._end(id, fence, JobStatus.FAILED, problem)

    async def end_canceled(self, id: str, fence: int) -> bool:
        """End a job that was asked to stop. False where the fence is stale."""
        return await self._end(id, fence, JobStatus.CANCELED, None)

    async def release(self, id: str, fence: int, contract: int = 1) -> bool:
        """Hand a job back to its lane without counting the delivery. False where the fence is stale.

        Parameters
        ----------
        contract
            What its request needs, where the record did not say so: only such workers take it from now on.
        """
        released = bool(await self._backend.script(scripts.RELEASE, id, fence, contract))
        if released:
            await self._backend.enqueue(id)
        return released

    async def retry(self, id: str, fence: int) -> float | None:
        """Hand a job back after a fault that passes, to be tried again later; the delivery does not count.

        Returns
        -------
        float or None
            Seconds until the next try; 0 where the fence is stale; None where the limit of retries is reached.
        """
        settings = self._backend.settings
        delay = await self._backend.script(
            scripts.RETRY,
            id,
            fence,
            int(settings.retry_seconds * 1000),
            int(settings.retry_max_seconds * 1000),
            settings.retry_limit,
        )
        return None if delay == -1 else delay / 1000

    async def abandon(self, id: str, fence: int) -> None:
        """Remove what a delivery has written that did not end the job, unless it may still go on."""
        outcome = await self._records.outcome(id)
        if outcome is not None and outcome.fence == fence:
            return
        if outcome is None and await self.renew(id, fence) != "lost":
            return
        student = await self._store.get(student_key(id, fence))
        if student is not None:
            await self._records.drop_student(student.decode())
            await self._store.delete(student_key(id, fence))
        await self._store.delete(result_key(id, fence))
        if outcome is not None:  # Else its checkpoint may still be of use to the next owner.
            await self._store.delete_prefix(delivery_folder(id, fence))

    async def _end(self, id: str, fence: int, status: JobStatus, problem: Problem | None) -> bool:
        moment, deliveries = await self._backend.script(scripts.ENDING, id, fence)
        if not moment:
            outcome = await self._records.outcome(id)
            if outcome is not None and (outcome.fence, outcome.status) == (fence, status):
                return True  # Written before an outage; the reaper has completed it since.
            await self.abandon(id, fence)
            return False
        fields = await self._backend.fields(id)
        outcome = StoredOutcome(
            status=status,
            error=problem,
            fence=fence,
            started_at_ms=int(fields["started_at"]) if "started_at" in fields else None,
            finished_at_ms=moment,
            deliveries=deliveries,
        )
        return await self._records.settle(id, outcome)
