"""A function in the place of an API key: tokens run out while a client lives."""

import pytest

from preceptor import AsyncClient, Client, PreceptorError

from .small_state import Fault, SmallService

PATH = "/v1/label-sets"


def sent(service: SmallService) -> list[str]:
    return [seen.headers["authorization"] for seen in service.requests("GET", PATH)]


def test_the_function_is_asked_before_each_attempt(client: Client, service: SmallService) -> None:
    tokens = iter(f"token-{number}" for number in range(9))
    service.fail("GET", PATH, Fault(503, {"Retry-After": "1"}), Fault(502))
    with Client(client.base_url, lambda: next(tokens), sleep=lambda _: None) as changing:
        assert next(tokens) == "token-0", "making a client asks for nothing"
        list(changing.label_sets.list())
        list(changing.label_sets.list())
    assert sent(service) == [f"Bearer token-{number}" for number in (1, 2, 3, 4)]


@pytest.mark.anyio
async def test_the_asynchronous_client_asks_too(client: Client, service: SmallService) -> None:
    tokens = iter(["one", "two"])
    async with AsyncClient(client.base_url, lambda: next(tokens)) as changing:
        assert [item async for item in changing.label_sets.list()] == []
        assert [item async for item in changing.label_sets.list()] == []
    assert sent(service) == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize(("given", "says"), [("", "gave no key"), ("a\nb", "cannot stand in a header")])
def test_what_the_function_gives_must_be_a_key(client: Client, service: SmallService, given: str, says: str) -> None:
    with Client(client.base_url, lambda: given) as changing, pytest.raises(PreceptorError, match=says):
        list(changing.label_sets.list())
    assert sent(service) == []
