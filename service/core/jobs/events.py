"""The event log of a job, replayable from any entry, followed without polling."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final, cast

from preceptor.contract.jobs import JobEvent, JobStatus

from ..async_helpers import ended
from ..redis import keys
from ..redis.client import RedisClient, translated

BATCH: Final = 500
"""Events read at once; fewer are all there are."""

_RECHECK_SECONDS: Final = 5.0
"""A listener looks at the log this often even if no wake-up came: a lost message delays it by seconds only."""


class EventLog:
    """Reads event logs. One subscription serves all listeners of a process."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._listeners: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    async def after(self, id: str, last: str | None, count: int = BATCH) -> list[JobEvent]:
        """Up to `count` events behind the event `last` (from the start where None)."""
        with translated():
            rows = cast(
                "list[tuple[str, dict[str, str]]]",
                await cast(
                    Any,
                    self._client.xrange(keys.events(id), min=f"({last}" if last else "-", count=count),
                ),
            )
        return [_event(event_id, fields) for event_id, fields in rows]

    async def newest(self, id: str) -> str | None:
        """Id of the last event; None where the log is empty."""
        with translated():
            rows = cast(
                "list[tuple[str, dict[str, str]]]", await cast(Any, self._client.xrevrange(keys.events(id), count=1))
            )
        return rows[0][0] if rows else None

    async def wake_ups(self, id: str) -> AsyncIterator[None]:
        """Yields at once, then whenever something happened to the job, and every few seconds."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._relay(), name="event relay")
        bell = asyncio.Event()
        self._listeners[id].add(bell)
        try:
            while True:
                yield
                try:
                    await asyncio.wait_for(bell.wait(), _RECHECK_SECONDS)
                except TimeoutError:
                    continue
                bell.clear()
        finally:
            self._listeners[id].discard(bell)
            if not self._listeners[id]:
                del self._listeners[id]

    async def close(self) -> None:
        """Stop the subscription."""
        if self._task is not None:
            await ended(self._task)

    async def _relay(self) -> None:
        while True:
            try:
                async with self._client.pubsub() as subscription:  # pyright: ignore[reportUnknownMemberType]
                    await cast(Any, subscription).psubscribe(keys.WAKE_PREFIX + "*")
                    while True:
                        message = await cast(Any, subscription).get_message(
                            ignore_subscribe_messages=True, timeout=_RECHECK_SECONDS
                        )
                        if message is not None:
                            id = cast(str, message["channel"]).removeprefix(keys.WAKE_PREFIX)
                            for bell in self._listeners.get(id, ()):
                                bell.set()
            except asyncio.CancelledError:
                raise
            except Exception:  # Redis is away; listeners go on by their own timer.
                await asyncio.sleep(0.5)


def ends(event: JobEvent) -> bool:
    """Whether this event is a job's last."""
    return event.event == "status" and JobStatus(event.data["status"]).terminal


def _event(event_id: str, fields: dict[str, str]) -> JobEvent:
    return JobEvent(
        id=event_id,
        event=fields["e"],
        at=datetime.fromtimestamp(int(event_id.partition("-")[0]) / 1000, UTC),
        data=json.loads(fields["d"]),
    )
