"""A secret is replaced without a receiver being cut off."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta

import httpx2
import pytest
import redis

from service.actions import webhooks as actions
from service.app import create_app
from service.core.settings import Settings
from service.core.state import State
from service.core.webhooks.stored import OVERLAP, StoredWebhook
from service.webhooks.dispatcher import Dispatcher
from tests.integration.api.serving import serve

from .conftest import End
from .receiver import Receiver

Make = Callable[..., Awaitable[tuple[str, str]]]
PUBLIC = "https://hooks.example.com/"


@pytest.fixture
def http(settings: Settings) -> Iterator[httpx2.Client]:
    with serve(create_app(settings)) as url, httpx2.Client(base_url=url, timeout=20) as client:
        yield client


async def stored(state: State, webhook: str) -> StoredWebhook:
    found = await state.webhooks.records.stored(webhook)
    assert found is not None
    return found


@pytest.mark.anyio
async def test_both_secrets_sign_for_a_day(
    state: State, dispatcher: Dispatcher, receiver: Receiver, make: Make, end: End
) -> None:
    webhook, old = await make(receiver.url)
    new = (await actions.rotate(state, webhook, "req_a")).secret
    assert new != old
    await end()
    await state.reap()
    assert await dispatcher.round() == 1
    (received,) = receiver.received
    assert received.verified(old)
    assert received.verified(new)
    parts = received.headers["webhook-signature"].split(" ")
    assert len(parts) == 2
    assert all(part.startswith("v1,") for part in parts)

    record = await stored(state, webhook)
    (former,) = record.former
    assert abs(former.until - await state.webhooks.now() - OVERLAP) < timedelta(minutes=1)
    over = former.model_copy(update={"until": await state.webhooks.now()})
    await state.webhooks.records.put(record.model_copy(update={"former": [over]}))
    await end()
    await state.reap()
    assert await dispatcher.round() == 1
    received = receiver.received[-1]
    assert not received.verified(old)
    assert received.verified(new)
    assert " " not in received.headers["webhook-signature"]


@pytest.mark.anyio
async def test_a_second_rotation_cuts_nobody_off(state: State, make: Make) -> None:
    webhook, first = await make("http://127.0.0.1:9/")
    second = (await actions.rotate(state, webhook, "req_a")).secret
    third = (await actions.rotate(state, webhook, "req_b")).secret
    assert (await actions.rotate(state, webhook, "req_b")).secret == third  # After a crash, under the same id.
    now = await state.webhooks.now()
    assert (await stored(state, webhook)).signing(now) == [third, second, first]
    for number in range(10):
        await actions.rotate(state, webhook, f"req_{number}")
    assert len((await stored(state, webhook)).signing(now)) == 5
    await actions.rotate(state, webhook, "req_late")
    record = await stored(state, webhook)
    assert record.signing(now + OVERLAP + timedelta(minutes=1)) == [record.secret]


@pytest.mark.anyio
async def test_a_webhook_of_an_older_version_can_be_read() -> None:
    text = (
        '{"id": "whk_00000000000000000000000000", "url": "http://a/", "events": ["job.failed"], "secret": "whsec_AA==",'
        '"created_at": "2026-01-01T00:00:00Z", "disabled_at": "2026-01-02T00:00:00Z"}'
    )
    webhook = StoredWebhook.model_validate_json(text)
    assert webhook.signing(webhook.created_at) == ["whsec_AA=="]
    assert (webhook.disabled_reason, webhook.enabled_at, webhook.failing_since) == (None, None, None)


def test_the_new_secret_is_shown_as_at_the_creation(http: httpx2.Client) -> None:
    made = http.post("/v1/webhooks", json={"url": PUBLIC}).json()
    path = f"/v1/webhooks/{made['id']}"
    answer = http.post(f"{path}/secret", headers={"Idempotency-Key": "one"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    rotated = answer.json()
    assert rotated == made | {"secret": rotated["secret"]}
    assert rotated["secret"] != made["secret"]
    again = http.post(f"{path}/secret", headers={"Idempotency-Key": "one"})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Cache-Control"] == "no-store"
    assert again.json() == rotated
    assert http.post(f"{path}/secret").json()["secret"] not in (made["secret"], rotated["secret"])

    shown = http.get(path).text + http.get("/v1/webhooks").text
    for hidden in ("whsec_", "secret", "former", "rotation"):
        assert hidden not in shown
    assert http.delete(path).status_code == 204
    assert http.post(f"{path}/secret").status_code == 404
    assert http.post(f"{path}/secret", headers={"Idempotency-Key": "one"}).status_code == 409


def test_no_secret_is_remembered_with_the_key(http: httpx2.Client, settings: Settings) -> None:
    made = http.post("/v1/webhooks", json={"url": PUBLIC}).json()
    secret = http.post(f"/v1/webhooks/{made['id']}/secret", headers={"Idempotency-Key": "one"}).json()["secret"]
    assert settings.redis_url is not None
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        kept = [client.hgetall(key) for key in client.scan_iter("preceptor:idempotency:*")]
    assert kept
    assert secret not in str(kept)
