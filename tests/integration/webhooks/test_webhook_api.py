"""`/v1/webhooks` over real HTTP, with the service's own background work."""

import queue
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import anyio
import httpx2
import pytest

from preceptor.contract.webhooks import Webhook
from service.app import create_app
from service.core.api_keys import ApiKeys, Scope
from service.core.settings import Settings
from service.core.storage.object_store import Store
from tests.integration.api.seeds import Seeds, plant
from tests.integration.api.serving import serve

PUBLIC = "https://hooks.example.com/preceptor?token=abc"


@pytest.fixture
def http(settings: Settings) -> Iterator[httpx2.Client]:
    with serve(create_app(settings)) as url, httpx2.Client(base_url=url, timeout=20) as client:
        yield client


@pytest.fixture
def seeds(settings: Settings, http: httpx2.Client) -> Seeds:
    return plant(settings)


@pytest.fixture
def inbox() -> Iterator[tuple[str, "queue.Queue[dict[str, str]]"]]:
    """The address of a receiver in a thread, and the headers that it gets."""
    got: queue.Queue[dict[str, str]] = queue.Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            got.put({name.lower(): value for name, value in self.headers.items()})

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", got
    server.shutdown()
    thread.join()
    server.server_close()


def create(http: httpx2.Client, **body: Any) -> httpx2.Response:
    return http.post("/v1/webhooks", json={"url": PUBLIC, **body})


def test_the_secret_is_shown_once(http: httpx2.Client) -> None:
    answer = create(http, events=["job.failed"], description="pager")
    assert answer.status_code == 201
    made = answer.json()
    assert made["id"].startswith("whk_")
    assert made["secret"].startswith("whsec_")
    assert len(made["secret"]) == 6 + 44
    assert answer.headers["Location"] == f"/v1/webhooks/{made['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    shown = http.get(answer.headers["Location"])
    assert shown.json() == {name: value for name, value in made.items() if name != "secret"}
    assert http.get(answer.headers["Location"], headers={"If-None-Match": shown.headers["ETag"]}).status_code == 304
    listed = http.get("/v1/webhooks")
    assert [Webhook.model_validate(item) for item in listed.json()["items"]] == [Webhook.model_validate(shown.json())]
    assert "secret" not in listed.text
    assert create(http).json()["secret"] != made["secret"]
    assert create(http).json()["events"] == ["job.succeeded", "job.failed", "job.canceled"]


def test_a_repeated_creation_makes_one(http: httpx2.Client) -> None:
    first, second = (
        http.post("/v1/webhooks", json={"url": PUBLIC}, headers={"Idempotency-Key": "one"}) for _ in range(2)
    )
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.json() == first.json()
    assert len(http.get("/v1/webhooks").json()["items"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"url": "ftp://example.com/"},
        {"url": "https://user:password@example.com/"},
        {"url": "https://user@example.com/"},
        {"url": "https://example.com/#part"},
        {"url": "https://example.com\\@10.0.0.1/"},
        {"url": "https://exa mple.com/"},
        {"url": "https://example.com/\n"},
        {"url": "https://example.com:0/"},
        {"url": "https://example.com:99999/"},
        {"url": "//example.com/"},
        {"url": "https:///x"},
        {"url": "https://example.com./"},
        {"url": "http://10.0.0.1/"},
        {"url": "http://[::1]/"},
        {"url": "http://[::g]/"},
        {"url": "http://[5a.d7d.]/"},
        {"url": "http://[1.2.3.4]/"},
        {"url": "http://169.254.169.254/latest/meta-data/"},
        {"url": "http://167772161/"},
        {"url": PUBLIC, "events": []},
        {"url": PUBLIC, "events": ["job.started"]},
        {"url": PUBLIC, "description": "a\x07"},
        {"url": PUBLIC, "secret": "mine"},
    ],
)
def test_what_cannot_be_a_webhook(http: httpx2.Client, body: dict[str, Any]) -> None:
    answer = http.post("/v1/webhooks", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"].startswith("/")
    assert http.get("/v1/webhooks").json()["items"] == []


def test_the_service_delivers_and_replays(
    http: httpx2.Client, seeds: Seeds, inbox: tuple[str, "queue.Queue[dict[str, str]]"]
) -> None:
    address, got = inbox
    webhook = create(http, url=address).json()["id"]
    assert http.post(f"/v1/jobs/{seeds.queued}/cancel").status_code == 200
    headers = got.get(timeout=30)
    assert headers["webhook-signature"].startswith("v1,")
    (listed,) = http.get(f"/v1/webhooks/{webhook}/deliveries").json()["items"]
    assert listed["id"] == headers["webhook-id"]
    assert listed["message"]["type"] == "job.canceled"
    assert listed["message"]["data"] == {
        "id": seeds.queued, "kind": "recommendation", "status": "canceled", "error": None,
    }  # fmt: skip

    again = http.post(f"/v1/webhooks/{webhook}/replay?job={seeds.queued}")
    assert again.status_code == 202, again.text
    assert again.headers["Location"] == f"/v1/webhooks/{webhook}/deliveries/{listed['id']}"
    assert got.get(timeout=30)["webhook-id"] == listed["id"]
    assert http.get(again.headers["Location"]).json()["id"] == listed["id"]

    older = http.post(f"/v1/webhooks/{webhook}/replay", params={"job": seeds.done})
    assert older.status_code == 202
    assert got.get(timeout=30)["webhook-id"] == older.json()["id"]
    pages = [http.get(f"/v1/webhooks/{webhook}/deliveries?limit=1")]
    pages.append(http.get(f"/v1/webhooks/{webhook}/deliveries?limit=1&cursor={pages[0].json()['next']}"))
    assert [page.json()["items"][0]["id"] for page in pages] == [listed["id"], older.json()["id"]]
    assert pages[1].json()["next"] is None

    assert http.delete(f"/v1/webhooks/{webhook}").status_code == 204
    for path in ("", "/deliveries", f"/deliveries/{listed['id']}"):
        assert http.get(f"/v1/webhooks/{webhook}{path}").status_code == 404
    assert http.delete(f"/v1/webhooks/{webhook}").status_code == 404
    assert http.post(f"/v1/webhooks/{webhook}/replay?job={seeds.done}").status_code == 404


def test_only_an_admin_has_to_do_with_webhooks(settings: Settings) -> None:
    keys = ApiKeys(Store(settings.store_url, settings.data / "scratch"))

    async def mint(scope: Scope) -> str:
        return (await keys.mint("test", scope, lifetime=timedelta(hours=1)))[1]

    texts = {scope: anyio.run(mint, scope) for scope in ("read", "write", "admin")}
    with serve(create_app(settings)) as url, httpx2.Client(base_url=url, timeout=20) as client:

        def answers(scope: str, method: str, path: str, **more: Any) -> int:
            headers = {"Authorization": f"Bearer {texts[scope]}"}
            return client.request(method, path, headers=headers, **more).status_code

        webhook = "/v1/webhooks/whk_" + "0" * 26
        for scope in ("read", "write"):
            assert answers(scope, "POST", "/v1/webhooks", json={"url": PUBLIC}) == 403
            for method, path in (
                ("GET", "/v1/webhooks"),
                ("GET", webhook),
                ("GET", f"{webhook}/deliveries"),
                ("POST", f"{webhook}/replay?job=rec_{'0' * 26}"),
                ("POST", f"{webhook}/secret"),
                ("POST", f"{webhook}/enable"),
                ("DELETE", webhook),
            ):
                assert answers(scope, method, path) == 403, (scope, method, path)
        assert answers("admin", "POST", "/v1/webhooks", json={"url": PUBLIC}) == 201
        assert answers("admin", "GET", "/v1/webhooks") == 200
        assert answers("read", "GET", "/v1/jobs") == 200
