"""A job's end is told at least once: whatever dies between, the service, its state or Redis."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import cast

import pytest

from preceptor.contract.webhooks import WebhookMessage
from service.actions import webhooks as actions
from service.core.async_helpers import ended
from service.core.errors import StoreUnavailable
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State
from service.core.webhooks.deliveries import RETENTION_MS
from service.network.egress import Egress
from service.webhooks.dispatcher import Dispatcher
from service.webhooks.sender import Post

from .conftest import End
from .receiver import Receiver, receiving

pytestmark = pytest.mark.anyio
Make = Callable[..., Awaitable[tuple[str, str]]]

SERVICE = """
import asyncio, sys
from service.network.egress import Egress
from service.core.settings import Settings
from service.core.state import State
from service.webhooks.dispatcher import Dispatcher
from service.webhooks.sender import Post

async def main():
    settings = Settings(data=sys.argv[1], redis_url=sys.argv[2], egress_allow="127.0.0.1")
    async with State(settings) as state, Post(Egress.of(settings.egress_allow)) as post:
        await state.reap()
        await Dispatcher(state, post).round()

asyncio.run(main())
"""


async def make_due(state: State) -> None:
    """As if all leases and pauses were over."""
    for member in cast("list[str]", await state.client.zrange(keys.DUE, 0, -1)):
        await state.client.zadd(keys.DUE, {member: 1})


async def test_the_state_is_dropped_between_the_end_and_the_delivery(
    settings: Settings, state: State, post: Post, receiver: Receiver, make: Make, end: End
) -> None:
    _, secret = await make(receiver.url)
    async with State(settings) as worker:
        job = await end(on=worker)  # The worker ends the job; no service has seen it yet.
    async with State(settings) as another:
        await another.reap()
    assert receiver.received == []  # This one has died before it sent anything.
    async with State(settings) as third:
        await third.reap()
        assert await Dispatcher(third, post).round() == 1
        assert await Dispatcher(third, post).round() == 0
    assert [received.message.data.id for received in receiver.received] == [job]
    assert receiver.received[0].verified(secret)


async def test_a_service_killed_in_the_middle_of_an_attempt(
    settings: Settings, state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    await make(receiver.url)
    await end()
    receiver.answers = [None]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVICE, str(settings.data), str(settings.redis_url)
    )
    await receiver.hears(1)
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL

    await state.reap()
    assert await dispatcher.round() == 0  # The dead one's claim still stands.
    await make_due(state)
    assert await dispatcher.round() == 1
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


async def test_redis_is_lost_between_the_end_and_the_delivery(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, secret = await make(receiver.url)
    job = await end("failed")
    await state.client.flushall()
    await state.reap()
    assert await dispatcher.round() == 1
    assert receiver.received[0].message.data.id == job
    assert receiver.received[0].verified(secret)

    await state.client.flushall()  # And after it: nothing is sent twice.
    await state.reap()
    assert await dispatcher.round() == 0
    items, _ = await state.webhooks.deliveries.page(webhook, None, 50)
    assert [item.status for item in items] == ["succeeded"]


async def test_who_asks_before_the_reaper_comes_finds_them_again(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    await end()
    await state.reap()
    assert await dispatcher.round() == 1
    await state.client.flushall()
    assert await state.webhooks.records.get(webhook) is not None
    items, _ = await state.webhooks.deliveries.page(webhook, None, 50)
    assert [item.status for item in items] == ["succeeded"]


async def test_a_pause_outlives_redis(state: State, post: Post, receiver: Receiver, make: Make, end: End) -> None:
    webhook, _ = await make(receiver.url)
    receiver.answers = [500]
    await end()
    await state.reap()
    patient = Dispatcher(state, post, pauses=(300.0,))
    assert await patient.round() == 1
    (due,) = await state.client.zrange(keys.DUE, 0, -1, withscores=True)
    await state.client.flushall()
    await state.reap()
    assert await state.client.zrange(keys.DUE, 0, -1, withscores=True) == [due]
    assert await patient.round() == 0
    await make_due(state)
    assert await patient.round() == 1
    items, _ = await state.webhooks.deliveries.page(webhook, None, 50)
    assert [(item.status, item.tries) for item in items] == [("succeeded", 2)]


async def test_a_restarted_redis_may_have_lost_its_last_writes(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    kept, _ = await make(receiver.url)
    removed, _ = await make(receiver.url)
    record = await state.client.hget(keys.record("webhooks"), removed)
    assert record is not None
    await state.reap()
    await state.webhooks.delete(removed)
    await state.client.hset(keys.record("webhooks"), removed, record)  # The removal is lost,
    await state.client.hdel(keys.record("webhooks"), kept)  # and so is a creation.
    await state.client.set(keys.SERVER, "another server")
    await end()
    await state.reap()
    await dispatcher.round()
    assert len(receiver.received) == 1
    assert await state.webhooks.records.get(removed) is None
    assert await state.webhooks.records.get(kept) is not None


async def test_a_crash_while_deliveries_are_made(
    state: State,
    dispatcher: Dispatcher,
    receiver: Receiver,
    make: Make,
    end: End,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    webhooks = {(await make(receiver.url))[0] for _ in range(3)}
    await end()
    whole, made = state.webhooks.deliveries.create, 0

    async def broken(webhook: str, message: WebhookMessage) -> object:
        nonlocal made
        made += 1
        if made == 2:
            raise StoreUnavailable("gone")
        return await whole(webhook, message)

    monkeypatch.setattr(state.webhooks.deliveries, "create", broken)
    with suppress(StoreUnavailable):
        await state.reap()
    assert await dispatcher.round() == 1
    await state.reap()
    assert await dispatcher.round() == 2
    assert await dispatcher.round() == 0
    assert len({received.headers["webhook-id"] for received in receiver.received}) == len(webhooks) == 3


async def test_several_services_share_the_work(
    settings: Settings, state: State, post: Post, receiver: Receiver, make: Make, end: End
) -> None:
    await make(receiver.url)
    jobs = {await end("canceled") for _ in range(12)}
    async with State(settings) as other:
        await asyncio.gather(state.reap(), other.reap(), state.webhooks.announce(), other.webhooks.announce())
        ours, theirs = Dispatcher(state, post), Dispatcher(other, post)
        while sum(await asyncio.gather(ours.round(), theirs.round())) or len(receiver.received) < 12:
            await make_due(state)  # What a busy webhook has put off for a second.
    assert len(receiver.received) == 12
    assert {received.message.data.id for received in receiver.received} == jobs


async def test_an_attempt_that_outlives_its_claim_changes_nothing(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    receiver.answers = [500, 204]
    job = await end()
    await state.reap()
    (claim,) = await state.webhooks.deliveries.claim(1, 60_000)
    assert await state.webhooks.deliveries.holds(claim)
    await state.client.sadd(keys.UNANNOUNCED, job)
    await state.reap()  # Announced twice, and compared with the store: it stays claimed.
    await state.webhooks.restore()
    assert await state.webhooks.deliveries.claim(1, 60_000) == []
    await make_due(state)
    assert not await state.webhooks.deliveries.holds(claim)
    await state.webhooks.deliveries.release(claim, None)  # The late one has no say.
    assert await dispatcher.round() == 1
    assert await dispatcher.round() == 1
    items, _ = await state.webhooks.deliveries.page(webhook, None, 50)
    assert [item.tries for item in items] == [2]


async def test_a_replay_during_an_attempt_begins_anew(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    go_on = asyncio.Event()
    receiver.answers = [go_on]
    job = await end()
    await state.reap()
    attempt = asyncio.create_task(dispatcher.round())
    await receiver.hears(1)
    await actions.replay(state, webhook, job)
    go_on.set()
    assert await attempt == 1
    assert await dispatcher.round() == 1
    items, _ = await state.webhooks.deliveries.page(webhook, None, 50)
    assert [(item.status, item.tries) for item in items] == [("succeeded", 1)]


async def test_what_was_delivered_is_not_sent_again(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    await end()
    await state.reap()
    assert await dispatcher.round() == 1
    items, _ = await state.webhooks.deliveries.page(webhook, None, 50)
    await state.client.zadd(keys.DUE, {f"{webhook}:{items[0].id}": 1})  # Redis has lost that it is over.
    assert await dispatcher.round() == 1
    assert await state.client.zcard(keys.DUE) == 0
    assert len(receiver.received) == 1


async def test_a_webhook_that_hangs_does_not_hold_up_the_others(
    state: State, receiver: Receiver, make: Make, end: End
) -> None:
    receiver.answers = [None] * 100
    async with receiving() as quick, Post(Egress.of("127.0.0.1"), timeout=300) as slow_post:
        await make(receiver.url)
        for _ in range(20):
            await end("canceled")
        await state.reap()
        await make(quick.url)
        await end("canceled")
        await state.reap()
        running = asyncio.create_task(Dispatcher(state, slow_post).run_until_cancelled(0.01))
        await quick.hears(1)
        await receiver.hears(8)
        assert len(receiver.received) == 8
        await ended(running)


async def test_old_deliveries_are_removed_and_not_made_again(
    state: State,
    dispatcher: Dispatcher,
    receiver: Receiver,
    make: Make,
    end: End,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    webhook, _ = await make(receiver.url)
    job = await end()
    await state.reap()
    assert await state.webhooks.expire() == 0
    assert await dispatcher.round() == 1
    whole = state.webhooks.now

    async def later() -> object:
        return await whole() + timedelta(milliseconds=RETENTION_MS + 1000)

    monkeypatch.setattr(state.webhooks, "now", later)
    assert await state.webhooks.expire() == 1
    assert await state.webhooks.deliveries.page(webhook, None, 50) == ([], None)
    await state.client.sadd(keys.UNANNOUNCED, job)
    assert await state.webhooks.announce() == 1
    assert await state.client.scard(keys.UNANNOUNCED) == 0
    assert await dispatcher.round() == 0
