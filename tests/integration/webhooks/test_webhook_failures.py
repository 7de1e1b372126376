"""Failures are seen: counted, logged once, shown at the webhook; what fails for days is disabled, and enabled again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import cast

import httpx2
import pytest
import structlog

from service.actions import webhooks as actions
from service.app import create_app
from service.core.errors import Conflict, NotFound, StateUnavailable
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State
from service.core.webhooks.stored import StoredWebhook
from service.metrics_page import exposition
from service.network.egress import Egress
from service.webhooks.dispatcher import DISABLE_AFTER, Dispatcher
from service.webhooks.sender import Post, Response
from tests.integration.api.serving import serve

from .conftest import End
from .receiver import Receiver
from .test_webhook_delivery import only
from .test_webhook_durability import make_due

pytestmark = pytest.mark.anyio
Make = Callable[..., Awaitable[tuple[str, str]]]


async def stored(state: State, webhook: str) -> StoredWebhook:
    found = await state.webhooks.records.stored(webhook)
    assert found is not None
    return found


async def counted(state: State) -> dict[str, float]:
    return {labels[0]: value for labels, value in (await state.counters.read()).get("webhook_attempts", {}).items()}


async def fail_since(state: State, webhook: str, age: timedelta) -> None:
    since = await state.webhooks.now() - age
    await state.webhooks.records.put((await stored(state, webhook)).model_copy(update={"failing_since": since}))


async def test_attempts_are_counted_by_what_came_of_them(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    await make(receiver.url)
    text = (await exposition(state)).decode()
    for outcome in ("delivered", "failed", "refused", "gone", "given_up"):
        assert f'preceptor_webhook_attempts_total{{outcome="{outcome}"}} 0.0' in text
    receiver.answers = [500, 500, 500, 500, 204, 410]
    for rounds in (3, 2, 1):
        await end()
        await state.reap()
        for _ in range(rounds):
            assert await dispatcher.round() == 1
    assert await counted(state) == {"failed": 3, "given_up": 1, "delivered": 1, "gone": 1}


async def test_an_attempt_that_cannot_be_counted_counts(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(amounts: object) -> None:
        raise StateUnavailable("gone")

    webhook, _ = await make(receiver.url)
    receiver.answers = [500]
    monkeypatch.setattr(state.counters, "add", fail)
    await end()
    await state.reap()
    await dispatcher.round()
    assert (await only(state, webhook)).tries == 1
    assert (await stored(state, webhook)).failing_since is not None


async def test_what_may_not_be_reached_is_counted_as_refused(state: State, make: Make, end: End) -> None:
    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    await make("http://rebind.test/")
    async with Post(Egress(), look_up=here) as guarded:
        await end()
        await state.reap()
        dispatcher = Dispatcher(state, guarded, pauses=(0.0,))
        await dispatcher.round()
        await dispatcher.round()
    assert await counted(state) == {"refused": 1, "given_up": 1}


async def test_what_waits_and_for_how_long(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    assert await state.webhooks.deliveries.backlog() == (0, 0.0)
    webhook, _ = await make(receiver.url)
    await end()
    await state.reap()
    member = cast("list[str]", await state.client.zrange(keys.DUE, 0, -1))[0]
    moment = int((await state.redis_time() - 90) * 1000)
    await state.client.zadd(keys.DUE, {member: moment, f"{webhook}:later": moment + 200_000})
    waiting, age = await state.webhooks.deliveries.backlog()
    assert waiting == 2
    assert 89 < age < 120
    text = (await exposition(state)).decode()
    assert "preceptor_webhook_due 2.0" in text
    assert "preceptor_webhook_due_oldest_seconds 9" in text
    await dispatcher.round()
    assert await state.webhooks.deliveries.backlog() == (1, 0.0)  # Not due yet: nobody has let it wait.


async def test_one_warning_where_it_has_failed_for_good(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, secret = await make(receiver.url.replace("a=b", "token=geheim"))
    receiver.answers = [500, None, 502]
    await end()
    await state.reap()
    async with Post(Egress.of("127.0.0.1"), timeout=0.5) as hasty:
        dispatcher = Dispatcher(state, hasty, pauses=(0.0, 0.0))
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                await dispatcher.round()
    message = (await only(state, webhook)).id
    assert [line["log_level"] for line in logs] == ["info", "info", "warning"]
    assert all(line["webhook"] == webhook and line["message"] == message for line in logs)
    assert logs[1]["reason"] == "no answer within 0.5 s"
    assert logs[2]["event"] == "webhook delivery given up"
    assert logs[2]["reason"] == "its address answered 502"
    assert secret not in str(logs)
    assert "geheim" not in str(logs)


@pytest.mark.parametrize(
    ("status", "value", "least", "most"),
    [
        (429, "120", 119, 133),
        (503, "120", 119, 133),
        (503, "date", 110, 133),
        (503, "999999999", 599, 661),  # No longer than the longest pause.
        (503, "1", 9, 11.1),  # Not sooner than the schedule has it.
        (503, "soon", 9, 11.1),
        (500, "120", 9, 11.1),  # Not an answer that may ask.
    ],
)
async def test_a_receiver_may_ask_for_time(
    state: State,
    post: Post,
    receiver: Receiver,
    make: Make,
    end: End,
    status: int,
    value: str,
    least: float,
    most: float,
) -> None:
    webhook, _ = await make(receiver.url)
    if value == "date":
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    receiver.answers = [f"HTTP/1.1 {status} X\r\nretry-AFTER: {value}\r\nContent-Length: 0\r\n\r\n".encode()]
    await end()
    await state.reap()
    await Dispatcher(state, post, pauses=(10.0, 600.0)).round()
    due = (await only(state, webhook)).next_attempt_at
    assert due is not None
    assert least < (due - await state.webhooks.now()).total_seconds() < most


async def test_what_fails_for_days_is_disabled_and_goes_on_when_enabled(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    receiver.answers = [500] * 3
    await end()
    await state.reap()
    await dispatcher.round()
    since = (await stored(state, webhook)).failing_since
    assert since is not None
    await dispatcher.round()
    assert (await stored(state, webhook)).failing_since == since
    await fail_since(state, webhook, DISABLE_AFTER - timedelta(minutes=1))
    await dispatcher.round()  # Given up, but not for long enough.
    assert (await stored(state, webhook)).disabled_at is None

    await fail_since(state, webhook, DISABLE_AFTER)
    receiver.answers = [500] * 4
    await end()
    await state.reap()
    for _ in range(2):
        await dispatcher.round()
    assert (await stored(state, webhook)).disabled_at is None  # Each delivery has all its attempts.
    waiting = await end("failed")
    await state.reap()
    with structlog.testing.capture_logs() as logs:
        assert await dispatcher.round() == 2
    record = await stored(state, webhook)
    assert record.disabled_at is not None
    assert record.disabled_reason == "failing"
    assert sum(line["event"].startswith("webhook disabled") for line in logs) == 1

    heard = len(receiver.received)
    await make_due(state)
    await dispatcher.round()
    assert await state.client.zcard(keys.DUE) == 0  # Parked: it is not claimed again and again.
    missed = await end()
    await state.reap()
    assert await dispatcher.round() == 0
    assert len(receiver.received) == heard

    enabled = await actions.enable(state, webhook)
    assert enabled.disabled_at is enabled.disabled_reason is enabled.failing_since is None
    assert enabled.enabled_at is not None
    assert await dispatcher.round() == 1
    assert receiver.received[-1].message.data.id == waiting

    await state.client.flushall()  # All jobs are looked at again: what ended meanwhile is not told of later.
    await state.reap()
    assert await dispatcher.round() == 0
    assert missed not in {received.message.data.id for received in receiver.received}
    assert await actions.replay(state, webhook, missed)
    assert await dispatcher.round() == 1


async def test_a_success_ends_the_failing(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    receiver.answers = [500]
    await end()
    await state.reap()
    await dispatcher.round()
    await fail_since(state, webhook, DISABLE_AFTER * 2)
    await dispatcher.round()
    record = await stored(state, webhook)
    assert (record.failing_since, record.disabled_at) == (None, None)


async def test_gone_is_shown_and_can_be_enabled(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    receiver.answers = [410]
    job = await end()
    await state.reap()
    with structlog.testing.capture_logs() as logs:
        await dispatcher.round()
    assert [line["log_level"] for line in logs] == ["warning"]
    assert (await stored(state, webhook)).disabled_reason == "gone"
    with pytest.raises(Conflict, match="enable"):
        await actions.replay(state, webhook, job)
    await actions.enable(state, webhook)
    await actions.replay(state, webhook, job)
    assert await dispatcher.round() == 1
    assert (await only(state, webhook)).status == "succeeded"
    with pytest.raises(NotFound):
        await actions.enable(state, "whk_" + "0" * 26)


async def test_what_waits_for_a_disabled_webhook_outlives_redis(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    await end()
    await state.reap()
    await state.webhooks.disable(webhook, "gone")
    await dispatcher.round()
    assert (await only(state, webhook)).status == "pending"
    await state.client.flushall()
    await state.reap()
    await dispatcher.round()
    assert receiver.received == []
    assert await state.client.zcard(keys.webhook_parked(webhook)) == 1
    await actions.enable(state, webhook)
    assert await dispatcher.round() == 1
    assert len(receiver.received) == 1
    await end()
    await state.reap()
    await state.webhooks.disable(webhook, "gone")
    await dispatcher.round()
    assert await state.client.exists(keys.webhook_parked(webhook)) == 1
    assert await state.webhooks.delete(webhook)
    assert await state.client.exists(keys.webhook_parked(webhook)) == 0


async def test_enabled_while_it_was_being_parked(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    await end()
    await state.reap()
    (claim,) = await state.webhooks.deliveries.claim(1, 60_000)
    await state.webhooks.disable(webhook, "gone")
    await actions.enable(state, webhook)  # Found nothing that waits: it is claimed by one who has seen it disabled.
    await state.webhooks.park(claim)
    assert await dispatcher.round() == 1
    assert len(receiver.received) == 1


async def test_nothing_is_sent_while_webhooks_are_off(
    settings: Settings, state: State, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    await end()
    with structlog.testing.capture_logs() as logs:
        app = create_app(settings.model_copy(update={"webhooks": "off"}))
        async with app.router.lifespan_context(app):
            await state.reap()
            await receiver_is_left_alone(receiver)
    assert any("webhooks are off" in line["event"] for line in logs)
    assert (await only(state, webhook)).status == "pending"
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        await receiver.hears(1)


async def receiver_is_left_alone(receiver: Receiver) -> None:
    """More than two looks of a dispatcher."""
    await asyncio.sleep(2.5)
    assert receiver.received == []


def test_enabling_over_http(settings: Settings) -> None:
    with serve(create_app(settings)) as url, httpx2.Client(base_url=url, timeout=20) as http:
        made = http.post("/v1/webhooks", json={"url": "https://hooks.example.com/"}).json()
        assert made["disabled_reason"] is None
        path = f"/v1/webhooks/{made['id']}/enable"
        for _ in range(2):
            answer = http.post(path, headers={"Idempotency-Key": "one"})
            assert answer.status_code == 200, answer.text
            assert answer.json() == {name: value for name, value in made.items() if name != "secret"}
        assert http.delete(f"/v1/webhooks/{made['id']}").status_code == 204
        assert http.post(path).status_code == 404


async def test_an_answer_that_asks_is_one(receiver: Receiver) -> None:
    receiver.answers = [b"HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"]
    async with Post(Egress.of("127.0.0.1")) as post:
        assert await post.send(receiver.url, {}, b"{}") == Response(503, None, retry_after=7.0)
