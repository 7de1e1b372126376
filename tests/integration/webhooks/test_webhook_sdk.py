"""`client.webhooks` against the real service."""

import pytest

from preceptor import AsyncClient, Client, ConflictError, InvalidRequestError, NotFoundError
from service.app import create_app
from service.core.settings import Settings
from tests.integration.api.seeds import plant
from tests.integration.api.serving import serve

URL = "http://127.0.0.1:9/"


def test_the_whole_namespace(settings: Settings) -> None:
    with serve(create_app(settings)) as base, Client(base) as client:
        seeds = plant(settings)
        made = client.webhooks.create(URL, ["job.failed"], "nobody listens")
        assert made.secret.startswith("whsec_")
        assert client.webhooks.get(made.id).events == ["job.failed"]
        assert [webhook.id for webhook in client.webhooks.list()] == [made.id, seeds.webhook]
        with pytest.raises(ConflictError, match="has ended"):
            client.webhooks.replay(made, seeds.queued)
        sent = client.webhooks.replay(made, client.jobs.get(seeds.done))
        assert sent.message.data.id == seeds.done
        assert [delivery.id for delivery in client.webhooks.deliveries(made)] == [sent.id]
        assert client.webhooks.delivery(made, sent.id).message == sent.message
        assert client.webhooks.rotate_secret(made).secret != made.secret
        assert client.webhooks.rotate_secret(made.id, idempotency_key="one") == client.webhooks.rotate_secret(
            made.id, idempotency_key="one"
        )
        assert client.webhooks.enable(made).disabled_at is None
        client.webhooks.delete(made)
        with pytest.raises(NotFoundError):
            client.webhooks.get(made.id)
        with pytest.raises(InvalidRequestError):
            client.webhooks.create("ftp://example.com")
        with pytest.raises(InvalidRequestError, match="not a public address"):
            client.webhooks.create("http://10.0.0.1/")


@pytest.mark.anyio
async def test_the_same_asynchronously(settings: Settings) -> None:
    with serve(create_app(settings)) as base:
        async with AsyncClient(base) as client:
            made = await client.webhooks.create(URL)
            assert (await client.webhooks.get(made.id)).url == URL
            assert [webhook.id async for webhook in client.webhooks.list()] == [made.id]
            assert [delivery.id async for delivery in client.webhooks.deliveries(made)] == []
            with pytest.raises(NotFoundError):
                await client.webhooks.delivery(made, "msg_" + "0" * 26)
            with pytest.raises(NotFoundError):
                await client.webhooks.replay(made, "rec_" + "0" * 26)
            assert (await client.webhooks.rotate_secret(made)).secret != made.secret
            assert (await client.webhooks.enable(made.id)).id == made.id
            await client.webhooks.delete(made.id)
            assert [webhook.id async for webhook in client.webhooks.list()] == []
