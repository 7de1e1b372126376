"""The Redis user that SECURITY.md gives Preceptor is enough for all its work, and for no more."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import BaseModel
from redis.exceptions import NoPermissionError

from preceptor.contract.ids import RECOMMENDATION, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.recommendations import RecommendationBody
from service.core.redis.embedded import EmbeddedRedis
from service.core.settings import Settings
from service.core.state import State
from worker.jobs.consumer import Consumer
from worker.jobs.context import JobContext

pytestmark = pytest.mark.anyio
PAGE = Path(__file__).parents[3] / "SECURITY.md"
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})


async def _task(context: JobContext, request: dict[str, Any]) -> BaseModel:
    context.progress(0.5)
    return REQUEST


async def test_the_documented_user_can_do_all_that_is_needed(redis_server: EmbeddedRedis, settings: Settings) -> None:
    found = re.search(r"`(ACL SETUSER [^`]+)`", PAGE.read_text())
    assert found is not None
    with redis.Redis(unix_socket_path=str(redis_server.socket)) as operator:
        operator.execute_command(*found.group(1).split())
        try:
            url = f"unix://preceptor:PASSWORD@{redis_server.socket}"
            async with State(settings.model_copy(update={"redis_url": url})) as state:
                await _everything(state)
                for forbidden in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("SET", "other", "1"), ("KEYS", "*")):
                    with pytest.raises(NoPermissionError):
                        await state.client.execute_command(*forbidden)
        finally:
            operator.execute_command("ACL", "DELUSER", "preceptor")


async def _everything(state: State) -> None:
    await state.reap()
    consumer = Consumer(state, "recommend", {"recommendation": _task})
    running = asyncio.create_task(consumer.run())
    id = new_id(RECOMMENDATION)
    await state.jobs.submit(id, "recommendation", REQUEST)
    async with asyncio.timeout(20):
        async for _ in state.events.wake_ups(id):
            summary = await state.jobs.get(id)
            assert summary is not None
            if summary.status.terminal:
                break
    assert summary.status == JobStatus.SUCCEEDED
    assert await state.lane_workers("recommend") == 1
    assert (await state.lane_backlog("recommend"))[0] == 0
    assert await state.cache.put("cost", "digest", b"x")
    assert await state.cache.get("cost", "digest") == b"x"
    await state.idempotency.begin("POST /x", "k", "body", "id-1")
    await state.reap()
    consumer.drain()
    await running
