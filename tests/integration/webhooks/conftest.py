"""A deployment that may speak to this machine, a receiver, and a dispatcher that waits for nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from preceptor.contract.ids import RECOMMENDATION, WEBHOOK, new_id
from preceptor.contract.problem import Problem
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.webhooks import WebhookBody
from service.actions import webhooks as actions
from service.core.settings import Settings
from service.core.state import State
from service.network.egress import Egress
from service.webhooks.dispatcher import Dispatcher
from service.webhooks.sender import Post
from tests.integration.api.seeds import finish

from .receiver import Receiver, receiving

REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})
PROBLEM = Problem(type="urn:preceptor:problem:job-failed", title="t", status=422, detail="why")
End = Callable[..., Awaitable[str]]


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return Settings(data=tmp_path / "data", redis_url=redis_url, lease_seconds=1.0, egress_allow="127.0.0.0/8")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def post(settings: Settings) -> AsyncIterator[Post]:
    async with Post(Egress.of(settings.egress_allow), timeout=10) as made:
        yield made


@pytest.fixture
def dispatcher(state: State, post: Post) -> Dispatcher:
    """Tries at once what has failed, three times in all."""
    return Dispatcher(state, post, pauses=(0.0, 0.0))


@pytest.fixture
def make(state: State) -> Callable[..., Awaitable[tuple[str, str]]]:
    """Creates a webhook: id and secret."""

    async def made(url: str, *events: str) -> tuple[str, str]:
        body = WebhookBody.model_validate({"url": url} | ({"events": list(events)} if events else {}))
        webhook = await actions.create(state, new_id(WEBHOOK), body)
        return webhook.id, webhook.secret

    return made


@pytest.fixture
def end(state: State) -> End:
    """Ends a job in one of the three ways, and leaves the rest to the reaper."""

    async def ended(how: str = "succeeded", on: State = state) -> str:
        id = new_id(RECOMMENDATION)
        await on.jobs.submit(id, "recommendation", REQUEST)
        if how == "succeeded":
            await finish(on, id)
        elif how == "failed":
            taken = await on.jobs.leases.take(id, "a worker")
            assert await on.jobs.leases.fail(id, taken.fence, PROBLEM)
        else:
            await on.jobs.cancel(id)
        return id

    return ended
