"""API keys over real HTTP: who is let in, to what, and how many jobs; and where the service refuses to listen."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import anyio
import httpx2
import pytest
from cachetools import LRUCache
from click.testing import Result
from typer.testing import CliRunner

from preceptor.contract.ids import new_id
from service.app import create_app
from service.cli.root import app as server_command
from service.core import api_keys
from service.core.api_keys import ApiKeys, Scope
from service.core.settings import Settings
from service.core.storage.object_store import Store
from service.middleware.authentication import is_loopback, keys_are_required

from .serving import serve

BODY = {"student": {"labels": ["cat", "dog"]}, "candidates": [{"name": "zoo", "labels": ["lion", "wolf"]}]}


@pytest.fixture
def keys(settings: Settings) -> ApiKeys:
    return ApiKeys(Store(settings.store_url, settings.data / "scratch"))


def mint(keys: ApiKeys, scope: Scope = "write", *, days: float | None = None, max_jobs: int = 0) -> tuple[str, str]:
    """Id and text of a new key."""

    async def made() -> tuple[str, str]:
        lifetime = None if days is None else timedelta(days=days)
        key, text = await keys.mint("test", scope, lifetime=lifetime, max_jobs=max_jobs)
        return key.id, text

    return anyio.run(made)


@pytest.fixture
def admin(keys: ApiKeys) -> str:
    """A key that exists before the service starts: so it asks for keys."""
    return mint(keys, "admin")[1]


@pytest.fixture
def http(admin: str, settings: Settings) -> Iterator[httpx2.Client]:
    with serve(create_app(settings)) as url, httpx2.Client(base_url=url, timeout=20) as client:
        yield client


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_only_the_health_checks_and_the_docs_page_need_no_key(http: httpx2.Client, admin: str) -> None:
    assert http.get("/health/live").status_code == 200
    assert http.get("/health/ready").status_code == 503  # There are no workers.
    for path in ("/docs", "/docs/page.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"):
        assert http.get(path).status_code == 200, path
    for path in ("/docs/", "/docs/../v1/jobs", "/docs/%2e%2e/v1/jobs", "/docs/x"):
        assert http.request("GET", httpx2.URL(f"{http.base_url}{path}")).status_code in (401, 404), path
    for path in ("/v1/jobs", "/v1/teachers", "/metrics", "/openapi.json", "/version", "/nothing", "/docs2"):
        refused = http.get(path)
        assert refused.status_code == 401, path
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert refused.headers["X-Request-Id"]
        assert refused.json()["type"] == "urn:preceptor:problem:unauthenticated"
    assert http.get("/v1/jobs", headers=bearer(admin)).status_code == 200


def test_a_wrong_key_is_refused_and_not_repeated_in_the_answer(http: httpx2.Client, admin: str) -> None:
    id, _, secret = admin.partition(".")
    wrong = [
        f"{id}.{secret[:-1]}", f"{id}.", id, secret, f"key_{'0' * 26}.{secret}", f"../{id}.{secret}",
        "x" * 10_000, f"{id}.{secret}x",
    ]  # fmt: skip
    for text in wrong:
        refused = http.get("/v1/jobs", headers=bearer(text))
        assert refused.status_code == 401
        assert secret[:-1] not in refused.text
    assert http.get("/v1/jobs", headers={"Authorization": f"Basic {admin}"}).status_code == 401
    assert http.get("/v1/jobs", headers={"Authorization": f"bearer {admin}"}).status_code == 200


def test_scopes(http: httpx2.Client, keys: ApiKeys, admin: str) -> None:
    reader, writer = mint(keys, "read")[1], mint(keys, "write")[1]
    allowed: dict[str, list[int]] = {}
    for name, text in (("read", reader), ("write", writer), ("admin", admin)):
        allowed[name] = [
            http.get("/v1/jobs", headers=bearer(text)).status_code,
            http.post("/v1/recommendations", json=BODY, headers=bearer(text)).status_code,
            http.delete(f"/v1/teachers/tch_{'0' * 26}", headers=bearer(text)).status_code,
        ]
    assert allowed == {"read": [200, 403, 403], "write": [200, 202, 403], "admin": [200, 202, 404]}


def test_expiry_revocation_and_rotation(http: httpx2.Client, keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.core.api_keys._FRESH_SECONDS", 0.0)
    gone = mint(keys, "read", days=-1)[1]
    assert http.get("/v1/jobs", headers=bearer(gone)).status_code == 401
    id, text = mint(keys, "read")
    assert http.get("/v1/jobs", headers=bearer(text)).status_code == 200
    fresh = anyio.run(keys.rotate, id, timedelta(hours=1))
    assert fresh is not None
    assert [http.get("/v1/jobs", headers=bearer(each)).status_code for each in (text, fresh[1])] == [200, 200]
    assert anyio.run(keys.revoke, id)
    assert [http.get("/v1/jobs", headers=bearer(each)).status_code for each in (text, fresh[1])] == [401, 200]
    assert not anyio.run(keys.revoke, id)


@pytest.mark.parametrize("last", ["revoked", "expired", "lost"])
def test_without_its_last_key_the_service_stays_locked(settings: Settings, keys: ApiKeys, last: str) -> None:
    assert anyio.run(keys_are_required, settings, keys) is False
    id, text = mint(keys, "admin", days=1)
    if last == "revoked":
        assert anyio.run(keys.revoke, id)
    elif last == "expired":
        place = settings.data / "store" / "keys" / f"{id}.json"
        told = json.loads(place.read_text())
        place.write_text(json.dumps(told | {"expires_at": told["created_at"]}))
    else:
        shutil.rmtree(settings.data / "store" / "keys")
    with serve(create_app(settings)) as url, httpx2.Client(base_url=url, timeout=20) as client:
        assert client.get("/v1/jobs").status_code == 401
        assert client.get("/v1/jobs", headers=bearer(text)).status_code == 401
        _, new = mint(keys, "read")
        assert client.get("/v1/jobs", headers=bearer(new)).status_code == 200
    opened = settings.model_copy(update={"auth": "off"})
    assert anyio.run(keys_are_required, opened, keys) is False


def test_who_knocks_often_does_not_push_the_others_out(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_known", LRUCache(4))

    async def knock() -> None:
        _, text = await keys.mint("one", "read")
        for _ in range(20):
            await keys.verified(f"{new_id(api_keys.PREFIX)}.x")
            assert await keys.verified(text) is not None
        assert len(keys._known) <= 4  # pyright: ignore[reportPrivateUsage]

    anyio.run(knock)


def test_who_comes_often_is_forgotten_last(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_known", LRUCache(4))
    monkeypatch.setattr(api_keys, "_FRESH_SECONDS", 3600.0)

    async def knock() -> None:
        key, text = await keys.mint("one", "read")
        assert await keys.verified(text) is not None
        await keys._store.delete(f"keys/{key.id}.json")  # pyright: ignore[reportPrivateUsage]
        for _ in range(20):
            await keys.verified(f"{new_id(api_keys.PREFIX)}.x")
            assert await keys.verified(text) is not None, "it must be answered from memory: the store has it no more"
        for _ in range(4):
            await keys.verified(f"{new_id(api_keys.PREFIX)}.x")
        assert await keys.verified(text) is None

    anyio.run(knock)


def test_a_key_of_a_release_that_left_no_mark_keeps_the_doors_locked(settings: Settings, keys: ApiKeys) -> None:
    id, _ = mint(keys)
    (settings.data / "store" / "keys-were-minted").unlink()
    assert anyio.run(keys_are_required, settings, keys) is True
    assert anyio.run(keys.revoke, id)
    assert anyio.run(keys_are_required, settings, keys) is True


def test_secrets_are_stored_as_digests_alone(keys: ApiKeys, settings: Settings, admin: str) -> None:
    secret = admin.partition(".")[2]
    files = [path for path in settings.data.rglob("*") if path.is_file()]
    assert any("keys" in path.parts for path in files)
    assert all(secret.encode() not in path.read_bytes() for path in files)


def test_a_quota_counts_unfinished_jobs_of_one_key(http: httpx2.Client, keys: ApiKeys, admin: str) -> None:
    few, other = mint(keys, max_jobs=2)[1], mint(keys, max_jobs=2)[1]
    answers = [http.post("/v1/recommendations", json=BODY, headers=bearer(few)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json()["type"] == "urn:preceptor:problem:quota-reached"
    assert int(answers[2].headers["Retry-After"]) > 0
    assert http.post("/v1/recommendations", json=BODY, headers=bearer(other)).status_code == 202
    listed = http.get("/v1/jobs", headers=bearer(admin)).json()["items"]
    assert len(listed) == 3, "nothing is left of what was refused"
    ended = http.post(f"/v1/jobs/{answers[0].json()['id']}/cancel", headers=bearer(few))
    assert ended.json()["status"] == "canceled"
    assert http.post("/v1/recommendations", json=BODY, headers=bearer(few)).status_code == 202


def test_an_idempotency_key_is_its_callers_own(http: httpx2.Client, keys: ApiKeys) -> None:
    one, two = bearer(mint(keys)[1]), bearer(mint(keys)[1])
    ids = [
        http.post("/v1/recommendations", json=BODY, headers={**who, "Idempotency-Key": "same"}).json()["id"]
        for who in (one, two, one)
    ]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False), ("", False),
    ],
)  # fmt: skip
def test_which_addresses_are_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


def test_the_service_refuses_a_public_address_without_keys(tmp_path: Path, redis_url: str) -> None:
    environment = {
        **os.environ, "PRECEPTOR_DATA": str(tmp_path), "REDIS_URL": redis_url, "PRECEPTOR_HOST": "0.0.0.0",
        "PRECEPTOR_PORT": "0",
    }  # fmt: skip
    refused = subprocess.run(
        [sys.executable, "-m", "service"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 78
    assert "preceptor-server keys create" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `preceptor-server keys`, in this process."""
    monkeypatch.setenv("PRECEPTOR_DATA", str(settings.data))
    monkeypatch.setattr("service.cli.keys.leave", sys.exit)
    return lambda *arguments: CliRunner().invoke(server_command, ["keys", *arguments])


def test_the_command_creates_lists_rotates_and_revokes(command: Callable[..., Result]) -> None:
    made = command("create", "--name", "ci", "--scope", "write", "--days", "1", "--max-jobs", "5")
    assert made.exit_code == 0
    id, _, secret = made.stdout.strip().partition(".")
    listed = command("list").stdout
    assert id in listed
    assert "ci" in listed
    assert secret not in listed
    rotated = command("rotate", id, "--grace-hours", "0")
    assert rotated.exit_code == 0
    new = rotated.stdout.partition(".")[0]
    rows = {line.split()[0]: line for line in command("list").stdout.splitlines()}
    assert "expired" in rows[id]
    assert len(rows) == 2
    again = command("rotate", id)
    assert (again.exit_code, new in again.stderr) == (1, True)
    assert command("revoke", id).exit_code == 0
    assert command("revoke", id).exit_code == 1
    unknown = command("rotate", "nonsense\x1b[2J")
    assert unknown.exit_code == 1
    assert "\x1b" not in unknown.stderr
    assert command("mint", "--name", "as before").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--name", "a", "--days", days] for days in ("-5", "0", "nan", "inf", "1e-9", "1e12")),
        ["--name", "a", "--max-jobs", "-1"],
        *(["--name", name] for name in ("", "  ", "a\nb", "a\x1b[2J", "a\u202eb", "\udcff", "a" * 201)),
    ],
)
def test_no_key_is_created_that_is_never_valid_or_cannot_be_listed(
    command: Callable[..., Result], arguments: list[str]
) -> None:
    refused = command("create", *arguments)
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr
    assert command("list").stdout == ""


def test_names_of_earlier_releases_are_listed_on_one_line(command: Callable[..., Result], keys: ApiKeys) -> None:
    async def old() -> None:
        key, _ = await keys.mint("a", "read")
        path = f"keys/{key.id}.json"
        stored = json.loads((await keys._store.get(path)) or b"")
        await keys._store.put(path, json.dumps(stored | {"name": "a\nkey_forged\x1b[2J"}).encode())

    anyio.run(old)
    (line,) = command("list").stdout.splitlines()
    assert line.endswith("a\\nkey_forged\\x1b[2J")


def test_a_job_answered_from_memory_needs_a_key_too(http: httpx2.Client, admin: str) -> None:
    job = http.post("/v1/recommendations", json=BODY, headers=bearer(admin)).json()["id"]
    assert http.post(f"/v1/jobs/{job}/cancel", headers=bearer(admin)).status_code == 200
    for _ in range(2):
        assert http.get(f"/v1/jobs/{job}", headers=bearer(admin)).json()["status"] == "canceled"
    assert http.get(f"/v1/jobs/{job}").status_code == 401


def test_commands_end_with_their_own_status(tmp_path: Path) -> None:
    environment = {**os.environ, "PRECEPTOR_DATA": str(tmp_path)}
    for arguments, status in ((["create", "--name", "one"], 0), (["list"], 0), (["revoke", "key_unknown"], 1)):
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", "keys", *arguments],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
