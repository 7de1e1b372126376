"""Messages on the wire: signed, tried again, given up, sent again."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from preceptor.contract.webhooks import WebhookDelivery
from service.actions import webhooks as actions
from service.core.errors import Conflict, InvalidRequest, NotFound
from service.core.redis import keys
from service.core.state import State
from service.network.egress import Egress
from service.webhooks.dispatcher import RETRY_DELAYS, Dispatcher
from service.webhooks.sender import Post, Response

from .conftest import PROBLEM, End
from .receiver import Receiver

pytestmark = pytest.mark.anyio
Make = Callable[..., Awaitable[tuple[str, str]]]


async def only(state: State, webhook: str) -> WebhookDelivery:
    items, following = await state.webhooks.deliveries.page(webhook, None, 50)
    assert following is None
    assert len(items) == 1
    return items[0]


async def test_the_end_of_a_job_is_posted_and_signed(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, secret = await make(receiver.url)
    jobs = {how: await end(how) for how in ("succeeded", "failed", "canceled")}
    await state.reap()
    assert await dispatcher.round() == 3
    assert await dispatcher.round() == 0
    assert {received.message.data.status.value: received.message.data.id for received in receiver.received} == jobs
    for received in receiver.received:
        assert received.target == "/hook?a=b"
        assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert received.headers["content-type"] == "application/json"
        assert received.headers["user-agent"].startswith("preceptor/")
        assert abs(int(received.headers["webhook-timestamp"]) - time.time()) < 60
        assert received.verified(secret)
        message = received.message
        assert message.type == f"job.{message.data.status.value}"
        assert message.data.kind == "recommendation"
        assert message.data.error == (PROBLEM if message.type == "job.failed" else None)
        summary = await state.jobs.get(message.data.id)
        assert summary is not None
        assert summary.finished_at == message.timestamp
    items, _ = await state.webhooks.deliveries.page(webhook, None, 50)
    assert {item.id for item in items} == {received.headers["webhook-id"] for received in receiver.received}
    assert all(item.status == "succeeded" and item.attempts[0].status == 204 for item in items)


async def test_only_what_was_asked_for_and_what_ended_since(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    await end()  # Not announced yet: that comes with the others.
    await asyncio.sleep(0.002)  # The next moment of Redis' clock, which counts milliseconds.
    await make(receiver.url, "job.failed", "job.failed")
    await make(receiver.url.replace("hook", "all"))
    failed = await end("failed")
    await end("succeeded")
    await state.reap()
    assert await dispatcher.round() == 3
    assert [received.message.data.id for received in receiver.received if received.target.startswith("/hook")] == [
        failed
    ]
    assert sum(received.target.startswith("/all") for received in receiver.received) == 2
    ids = [received.headers["webhook-id"] for received in receiver.received]
    assert len(set(ids)) == 3


async def test_a_failed_attempt_is_repeated_under_the_same_id(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, secret = await make(receiver.url)
    receiver.answers = [500, 302]
    await end()
    await state.reap()
    for expected in ("pending", "pending", "succeeded"):
        assert await dispatcher.round() == 1
        assert (await only(state, webhook)).status == expected
    assert await dispatcher.round() == 0
    assert receiver.connections == 3  # The redirect was not followed.
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
    assert len({received.body for received in receiver.received}) == 1
    assert all(received.verified(secret) for received in receiver.received)
    delivery = await only(state, webhook)
    assert [attempt.status for attempt in delivery.attempts] == [500, 302, 204]
    assert "redirects are not followed" in (delivery.attempts[1].error or "")
    assert delivery.attempts[2].error is None
    assert delivery.next_attempt_at is None


async def test_after_the_last_attempt_it_has_failed_and_can_be_replayed(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, secret = await make(receiver.url)
    receiver.answers = [500, 500, 500]
    job = await end()
    await state.reap()
    assert [await dispatcher.round() for _ in range(4)] == [1, 1, 1, 0]
    assert (await only(state, webhook)).status == "failed"

    replayed = await actions.replay(state, webhook, job)
    assert (replayed.status, replayed.tries, len(replayed.attempts)) == ("pending", 0, 3)
    assert await dispatcher.round() == 1
    assert (await only(state, webhook)).status == "succeeded"
    assert receiver.received[-1].verified(secret)
    assert receiver.received[-1].headers["webhook-id"] == receiver.received[0].headers["webhook-id"]

    await actions.replay(state, webhook, job)  # Also where it was received already.
    assert await dispatcher.round() == 1
    assert len(receiver.received) == 5


async def test_a_job_that_ended_before_the_webhook_can_be_replayed(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    job = await end("failed")
    waiting = await state.jobs.submit("rec_" + "0" * 26, "recommendation", PROBLEM)
    webhook, _ = await make(receiver.url)
    await actions.replay(state, webhook, job)
    assert await dispatcher.round() == 1
    assert receiver.received[0].message.data.error == PROBLEM
    with pytest.raises(Conflict, match="has ended"):
        await actions.replay(state, webhook, waiting.id)
    with pytest.raises(NotFound, match="no job"):
        await actions.replay(state, webhook, "rec_" + "1" * 26)


async def test_the_pauses_grow_to_a_day(state: State, post: Post, receiver: Receiver, make: Make, end: End) -> None:
    webhook, _ = await make(receiver.url)
    patient = Dispatcher(state, post)
    receiver.answers = [503] * 20
    await end()
    await state.reap()
    waits: list[float] = []
    while await patient.round():
        delivery = await only(state, webhook)
        if delivery.next_attempt_at is not None:
            waits.append((delivery.next_attempt_at - await state.webhooks.now()).total_seconds())
            assert await patient.round() == 0  # Not before its time.
            member = f"{webhook}:{delivery.id}"
            assert await state.client.zadd(keys.DUE, {member: 1}, xx=True, ch=True) == 1
    assert (await only(state, webhook)).status == "failed"
    assert len(receiver.received) == 8 == len(RETRY_DELAYS) + 1
    for wait, pause in zip(waits, RETRY_DELAYS, strict=True):
        assert pause - 5 < wait < pause * 1.1
    assert 20 * 3600 < sum(RETRY_DELAYS) < 25 * 3600


async def test_gone_disables_the_webhook(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    receiver.answers = [500, 500, 410]
    first, second = await end(), await end()
    await state.reap()
    assert await dispatcher.round() == 2
    assert await dispatcher.round() == 2
    stored = await state.webhooks.records.get(webhook)
    assert stored is not None
    assert stored.disabled_at is not None
    await end()
    await state.reap()
    await dispatcher.round()
    assert await dispatcher.round() == 0
    assert len(receiver.received) == 4
    items, _ = await state.webhooks.deliveries.page(webhook, None, 50)
    assert {item.message.data.id for item in items} == {first, second}
    with pytest.raises(Conflict, match="disabled"):
        await actions.replay(state, webhook, first)


async def test_a_deleted_webhook_gets_nothing_more(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, _ = await make(receiver.url)
    receiver.answers = [500]
    await end()
    await state.reap()
    await dispatcher.round()
    assert await state.webhooks.delete(webhook)
    assert not await state.webhooks.delete(webhook)
    await end()
    await state.reap()
    await dispatcher.round()
    assert len(receiver.received) == 1
    assert await state.client.zcard(keys.DUE) == 0
    assert [key async for key in state.store.list("webhooks/")] == []


async def test_the_beginning_of_an_answer_is_enough(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    size = 64 * 2**20
    webhook, _ = await make(receiver.url)
    receiver.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)]
    await end()
    await state.reap()
    await dispatcher.round()
    assert (await only(state, webhook)).status == "succeeded"
    assert receiver.taken < size / 4  # What the kernel's buffers hold, and no more.


async def test_who_does_not_answer_in_time(receiver: Receiver) -> None:
    receiver.answers = [None, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"nonsense\r\n\r\n"]
    async with Post(Egress.of("127.0.0.1"), timeout=0.2) as hasty:
        assert await hasty.send(receiver.url, {}, b"{}") == Response(None, "no answer within 0.2 s")
    async with Post(Egress.of("127.0.0.1"), timeout=5) as patient:
        assert await patient.send(receiver.url, {}, b"{}") == Response(200, None)  # The body is cut off; no matter.
        nonsense = await patient.send(receiver.url, {}, b"{}")
        assert nonsense.status is None
        assert "RemoteProtocolError" in (nonsense.error or "")
        refused = await patient.send("http://127.0.0.1:1/", {}, b"{}")
        assert refused.status is None
        assert "ConnectError" in (refused.error or "")


async def test_what_is_not_allowed_is_not_connected_to(state: State, receiver: Receiver, make: Make, end: End) -> None:
    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    webhook, _ = await make(f"http://rebind.test:{receiver.port}/")
    async with Post(Egress(), look_up=here) as guarded:
        await end()
        await state.reap()
        await Dispatcher(state, guarded, pauses=()).round()
    delivery = await only(state, webhook)
    assert delivery.status == "failed"
    assert "127.0.0.1, which is not a public address" in (delivery.attempts[0].error or "")
    assert receiver.connections == 0


async def test_the_name_is_resolved_once_and_still_named(receiver: Receiver) -> None:
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    asked: list[str] = []

    async def turncoat(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers.pop(0)

    async with Post(Egress.of("127.0.0.1"), look_up=turncoat) as post:
        url = f"http://rebind.test:{receiver.port}/x"
        assert (await post.send(url, {}, b"{}")).status == 204
        assert "10.0.0.1" in ((await post.send(url, {}, b"{}")).error or "")
    assert asked == ["rebind.test", "rebind.test"]
    assert receiver.received[0].headers["host"] == f"rebind.test:{receiver.port}"
    assert receiver.connections == 1


async def test_the_next_address_where_the_first_does_not_answer(receiver: Receiver) -> None:
    async def two(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with Post(Egress.of("127.0.0.0/8"), look_up=two) as post:
        assert await post.send(f"http://two.test:{receiver.port}/", {}, b"{}") == Response(204, None)


@pytest.mark.parametrize("path", ["", "/", "?a=b", "/x?y=/z&q=%20"])
async def test_the_target_is_sent_as_it_was_given(receiver: Receiver, path: str) -> None:
    async with Post(Egress.of("127.0.0.1")) as post:
        assert (await post.send(f"http://127.0.0.1:{receiver.port}{path}", {}, b"{}")).status == 204
    assert receiver.received[0].target == ("/" if not path.startswith("/") else "") + path


async def test_an_address_of_version_6(receiver: Receiver) -> None:
    try:
        server = await asyncio.start_server(receiver.serve, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    url = f"http://[::1]:{server.sockets[0].getsockname()[1]}/"
    async with server, Post(Egress.of("::1")) as post:
        assert (await post.send(url, {}, b"{}")).status == 204
        assert f"http://{receiver.received[0].headers['host']}/" == url
    async with Post(Egress()) as guarded:
        assert "::1 is not a public address" in ((await guarded.send(url, {}, b"{}")).error or "")


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/", "http://[::ffff:10.0.0.1]/", "http://0xa000001/", "http://a:99999/"],
)
async def test_an_address_inside_is_refused_at_creation(make: Make, url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await make(url)
    assert refused.value.errors[0].pointer == "/url"
