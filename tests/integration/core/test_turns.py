"""Whose turn it is in a lane: callers take turns, priorities, and jobs that come back keep theirs. Real Redis."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings as budget, strategies as st
from pydantic import BaseModel

from preceptor.contract.ids import DISTILLATION, RECOMMENDATION, new_id
from preceptor.contract.jobs import JobStatus, Priority
from preceptor.contract.recommendations import RecommendationBody
from service.core.api_keys import CALLER, Caller
from service.core.lanes import QUICK_NAMES, lane_of
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State
from worker.jobs.consumer import Consumer
from worker.jobs.context import JobContext
from worker.jobs.slots import Size, Slots

pytestmark = pytest.mark.anyio


class Answer(BaseModel):
    value: int


@contextmanager
def asking(caller: str | None) -> Iterator[None]:
    token = CALLER.set(None if caller is None else Caller(caller, 0))
    try:
        yield
    finally:
        CALLER.reset(token)


async def submit(state: State, caller: str | None, priority: Priority = "normal") -> str:
    id = new_id(RECOMMENDATION)
    body = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}, "priority": priority})
    with asking(caller):
        await state.jobs.submit(id, "recommendation", body)
    return id


async def serve(state: State, count: int, message: str = "rec_none") -> list[str]:
    """Take and end so many jobs, as one worker would."""
    served: list[str] = []
    for number in range(count):
        id, taken = await state.jobs.leases.take_next("recommend", message, f"w{number}")
        assert taken.code == "taken"
        assert await state.jobs.leases.succeed(id, taken.fence, Answer(value=number))
        served.append(id)
    return served


async def test_a_caller_with_one_job_does_not_wait_for_another_with_many(state: State) -> None:
    many = [await submit(state, "a") for _ in range(20)]
    await serve(state, 3)
    one = await submit(state, "b")
    rest = await serve(state, 18)
    assert rest.index(one) <= 1
    assert [id for id in rest if id != one] == many[3:]


async def test_without_keys_the_order_is_that_of_submission(state: State) -> None:
    ids = [await submit(state, None) for _ in range(12)]
    assert await serve(state, 12) == ids


async def test_high_goes_before_the_callers_own_and_low_behind_all(state: State) -> None:
    low = await submit(state, "a", "low")
    normal = [await submit(state, "a") for _ in range(4)]
    other = [await submit(state, "b") for _ in range(2)]
    high = await submit(state, "a", "high")
    served = await serve(state, 8)
    assert served[-1] == low
    assert served.index(high) < served.index(normal[1])
    # b is no further back than if a had asked for nothing in a hurry, but by one.
    assert served.index(other[0]) <= 3
    assert served.index(other[1]) <= 5


async def test_a_flood_of_high_jobs_does_not_stop_the_others(state: State) -> None:
    flood = [await submit(state, "a", "high") for _ in range(10)]
    other = [await submit(state, "b") for _ in range(3)]
    served = await serve(state, 13)
    assert [served.index(id) for id in other] == [1, 3, 5]
    assert [id for id in served if id in flood] == flood


async def test_a_caller_who_slept_has_saved_nothing_up(state: State) -> None:
    await submit(state, "b")
    await serve(state, 1)
    await serve(state, len([await submit(state, "a") for _ in range(10)]))
    first = [await submit(state, "a") for _ in range(4)]
    second = [await submit(state, "b") for _ in range(4)]
    served = await serve(state, 8)
    assert [id in second for id in served] == [False, True] * 4
    assert [id for id in served if id in first] == first


async def test_a_job_that_comes_back_keeps_its_turn(state: State) -> None:
    first, second, third = [await submit(state, "a") for _ in range(3)]
    taken_id, taken = await state.jobs.leases.take_next("recommend", third, "w1")
    assert taken_id == first
    assert await state.jobs.leases.release(first, taken.fence)
    again, lost = await state.jobs.leases.take_next("recommend", third, "w2")
    assert again == first
    await state.client.zadd(keys.leases(lane_of(first)), {first: 1})
    assert len(await state.jobs.recovery.reap()) == 1
    assert lost.fence > taken.fence
    assert await serve(state, 3) == [first, second, third]


async def test_a_job_that_is_tried_again_waits_and_then_comes_first(state: State) -> None:
    first, second = await submit(state, "a"), await submit(state, "a")
    _, taken = await state.jobs.leases.take_next("recommend", first, "w1")
    assert await state.jobs.leases.retry(first, taken.fence)
    assert await serve(state, 1) == [second]
    third = await submit(state, "a")
    await state.client.zadd(keys.delayed(lane_of(first)), {first: 1})
    await state.jobs.recovery.reap()
    assert await serve(state, 2) == [first, third]


async def test_canceled_and_lost_jobs_have_no_turn(state: State) -> None:
    first, second = await submit(state, "a"), await submit(state, "a")
    await state.jobs.cancel(first)
    assert await state.client.zrange(keys.turns("recommend"), 0, -1) == [second]
    await state.client.delete(keys.job(second))
    id, taken = await state.jobs.leases.take_next("recommend", first, "w")
    assert (id, taken.code) == (first, "ended")
    assert not await state.client.exists(keys.turns("recommend"))


async def test_a_job_of_an_older_service_is_taken_by_its_message(state: State) -> None:
    """A record without a turn, in no order: as one stands that was written before there were turns."""
    id = await submit(state, "a")
    await state.client.zrem(keys.turns("recommend"), id)
    await state.client.hdel(keys.job(id), "turn")  # type: ignore[misc]
    found, taken = await state.jobs.leases.take_next("recommend", id, "w")
    assert (found, taken.code) == (id, "taken")
    assert await state.jobs.leases.release(id, taken.fence)
    assert await serve(state, 1) == [id]


async def test_turns_survive_the_loss_of_redis(state: State) -> None:
    low = await submit(state, "a", "low")
    ids = [await submit(state, "a") for _ in range(3)]
    await state.client.flushall()
    await state.ensure_index()
    # A restored job stands where its id does; ids of one millisecond have no order.
    assert await serve(state, 4) == [*sorted(ids), low]


async def test_lanes_do_not_share_turns(state: State) -> None:
    id = await submit(state, "a")
    found, taken = await state.jobs.leases.take_next("distill", new_id(DISTILLATION), "w")
    assert taken.code == "unknown"
    assert found != id


async def test_workers_side_by_side_take_each_job_once(state: State) -> None:
    ids = {await submit(state, caller) for caller in "abc" for _ in range(8)}
    taken = await asyncio.gather(*(state.jobs.leases.take_next("recommend", "rec_none", f"w{n}") for n in range(30)))
    got = [id for id, each in taken if each.code == "taken"]
    assert sorted(got) == sorted(ids)
    assert {each.code for _, each in taken} == {"taken", "unknown"}


@budget(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=30))
async def test_no_caller_is_ever_two_ahead(state: State, course: Sequence[tuple[str, bool]]) -> None:
    """While two callers wait, neither is served more than once more often than the other in that time."""
    await state.client.flushall()
    await state.ensure_index()
    waiting: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    since: dict[tuple[str, str], int] = {}

    def pairs(caller: str) -> Iterator[tuple[str, str]]:
        yield from ((caller, other) for other in "abc" if other != caller)

    for caller, then_serve in [*course, *[("", True)] * len(course)]:
        if caller:
            waiting[caller].append(await submit(state, caller))
            if len(waiting[caller]) == 1:
                for pair in pairs(caller):
                    since[pair] = since[pair[::-1]] = 0
        if then_serve and any(waiting.values()):
            (id,) = await serve(state, 1)
            served = next(name for name, ids in waiting.items() if id in ids)
            assert waiting[served][0] == id
            waiting[served].pop(0)
            for pair in pairs(served):
                if waiting[pair[1]]:
                    since[pair] = since.get(pair, 0) + 1
                    since[pair[::-1]] = since.get(pair[::-1], 0) - 1
                    assert since[pair] <= 2


async def test_the_worker_serves_by_turns(settings: Settings) -> None:
    """Messages arrive in the order of submission; the jobs that are run do not."""
    order: list[str] = []

    async def task(context: JobContext, request: dict[str, object]) -> Answer:
        order.append(context.job_id)
        return Answer(value=1)

    async with State(settings) as state:
        await state.ensure_index()
        many = [await submit(state, "a") for _ in range(12)]
        one = await submit(state, "b")
        consumer = Consumer(state, "recommend", {"recommendation": task})
        running = asyncio.create_task(consumer.run())
        async with asyncio.timeout(30):
            for id in [*many, one]:
                async for _ in state.events.wake_ups(id):
                    summary = await state.jobs.get(id)
                    if summary is not None and summary.status == JobStatus.SUCCEEDED:
                        break
        consumer.drain()
        await asyncio.wait_for(running, 20)
    assert order.index(one) < 6


LONG = {"student": {"labels": [f"name {number}" for number in range(QUICK_NAMES + 1)]}}


async def submit_long(state: State, caller: str | None) -> str:
    id = new_id(RECOMMENDATION)
    with asking(caller):
        await state.jobs.submit(id, "recommendation", RecommendationBody.model_validate(LONG))
    return id


async def begin(state: State, slots: Slots, message: str = "rec_none") -> tuple[str, str]:
    """Take a job as a worker with these places would; its id where one was taken, and what came of it."""
    id, taken = await state.jobs.leases.take_next("recommend", message, f"w-{uuid.uuid4().hex}", slots)
    if taken.code == "taken":
        slots.begin(id, taken.caller, quick=taken.quick)
    return id, taken.code


async def test_a_caller_who_holds_its_share_is_passed_over(state: State) -> None:
    slots = Slots(Size(long=4, quick=1, share=2))
    many = [await submit_long(state, "a") for _ in range(150)]
    other = await submit_long(state, "b")
    assert (await begin(state, slots), await begin(state, slots)) == ((many[0], "taken"), (other, "taken"))
    assert await begin(state, slots) == (many[1], "taken")
    assert await begin(state, slots) == ("rec_none", "full")
    late = await submit_long(state, "b")
    assert await begin(state, slots) == (late, "taken")
    slots.end(many[0])
    assert await begin(state, slots) == (many[2], "taken")


async def test_a_quick_job_passes_long_ones_when_only_its_place_is_free(state: State) -> None:
    slots = Slots(Size(long=1, quick=1, share=1))
    long = [await submit_long(state, None) for _ in range(3)]
    quick = await submit(state, None)
    assert await begin(state, slots) == (long[0], "taken")
    assert await begin(state, slots, long[1]) == (quick, "taken")
    assert await begin(state, slots, long[1]) == (long[1], "full")
    assert await state.client.zrange(keys.quick_turns("recommend"), 0, -1) == []
    slots.end(long[0])
    slots.end(quick)
    assert await begin(state, slots) == (long[1], "taken")


async def test_a_quick_job_that_comes_back_is_quick_again(state: State) -> None:
    slots = Slots(Size(long=1, quick=1, share=1))
    quick = await submit(state, "a", "high")
    _, taken = await state.jobs.leases.take_next("recommend", quick, "w", slots)
    assert taken.quick
    assert (taken.caller, await state.client.exists(keys.quick_turns("recommend", 2))) == ("a", 0)
    assert await state.jobs.leases.release(quick, taken.fence)
    assert await state.client.zrange(keys.quick_turns("recommend", 2), 0, -1) == [quick]
    await state.client.flushall()
    await state.ensure_index()
    assert await state.client.zrange(keys.quick_turns("recommend", 2), 0, -1) == [quick]
    await state.jobs.cancel(quick)
    assert not await state.client.exists(keys.quick_turns("recommend", 2))


async def test_a_quick_job_that_an_older_worker_has_ended_is_left_out(state: State) -> None:
    """Older workers do not know the line of quick jobs, and leave what they take in it."""
    quick = await submit(state, "a")
    _, taken = await state.jobs.leases.take_next("recommend", quick, "w")
    assert await state.jobs.leases.succeed(quick, taken.fence, Answer(value=1))
    await state.client.zadd(keys.quick_turns("recommend"), {quick: 0})
    assert await begin(state, Slots(Size(long=1, quick=1, share=1)), quick) == (quick, "ended")
    assert not await state.client.exists(keys.quick_turns("recommend"))


async def test_the_reaper_removes_the_quick_turns_that_older_workers_left(state: State) -> None:
    waiting = await submit(state, "a")
    await state.client.zadd(keys.quick_turns("recommend"), {"rec_ended_by_an_older_worker": 0})
    await state.jobs.recovery.reap()
    assert await state.client.zrange(keys.quick_turns("recommend"), 0, -1) == [waiting]
