"""`preceptor doctor` before a real service, with and without a worker and keys."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from preceptor import Client
from preceptor.cli.doctor_checks import Examination, Finding
from preceptor.contract.recommendations import RecommendationResult, Timings
from service.app import create_app
from service.core.settings import Settings
from service.core.state import State
from worker.jobs.consumer import Consumer
from worker.jobs.context import JobContext

from .serving import serve

pytestmark = pytest.mark.anyio


def examined(url: str, key: str | None = None) -> dict[str, Finding]:
    with Client(url, key) as client:
        return {finding.subject: finding for finding in Examination(client).findings()}


async def _rank(context: JobContext, request: dict[str, Any]) -> BaseModel:
    return RecommendationResult(
        method="label_transport", mode="coverage", encoder="test", student_labels=request["student"]["labels"],
        considered=1, solved=1, ranking=[], skipped=[], uncovered=[], warnings=[], timings=Timings(),
    )  # fmt: skip


async def test_with_a_worker_all_is_well_and_without_one_it_is_told(settings: Settings, base_url: str) -> None:
    idle = await asyncio.to_thread(examined, base_url)
    assert {subject for subject, finding in idle.items() if finding.verdict == "fix"} == {
        "worker:recommend",
        "worker:distill",
    }
    assert idle["round trip"].verdict == "skipped"
    async with State(settings) as state:
        await state.ensure_index()
        consumer = Consumer(state, "recommend", {"recommendation": _rank})
        running = asyncio.create_task(consumer.run())
        await state.show_worker("distill", "there-1")
        try:
            busy = await asyncio.to_thread(examined, base_url)
        finally:
            consumer.drain()
            await asyncio.wait_for(running, 20)
    assert {subject: finding for subject, finding in busy.items() if finding.verdict != "ok"} == {}
    assert "workers 1" in busy["queue:recommend"].seen
    assert "recommendation of two class names took" in busy["round trip"].seen


async def test_keys_are_seen_from_outside(settings: Settings) -> None:
    async with State(settings) as state:
        reader = (await state.api_keys.mint("reader", "read"))[1]
        await state.ensure_index()
        for lane in ("recommend", "distill"):
            await state.show_worker(lane, "there-1")
    with serve(create_app(settings)) as url:
        stranger = await asyncio.to_thread(examined, url)
        known = await asyncio.to_thread(examined, url, reader)
    assert stranger["keys"].verdict == "ok"
    assert stranger["your key"].verdict == "fix"
    assert "version" not in stranger
    assert known["version"].verdict == known["queue:distill"].verdict == "ok"
    assert known["round trip"].verdict == "skipped", "a key that may only read starts no job"
