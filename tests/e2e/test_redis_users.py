"""The Redis users that docs/security.md gives each role: enough for whole jobs of all kinds, and for no more."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Final

import pytest
import redis
from redis.exceptions import ResponseError

from preceptor import Client
from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import Candidate
from service.cli.dev_stack import Stack
from service.core.redis.embedded import EmbeddedRedis
from service.core.settings import Settings
from tests import digits_zoo

PAGE: Final = Path(__file__).parents[2] / "docs/security.md"
ROLES: Final = ("service", "worker", "metrics")
CLASSES: Final = [5, 6, 7, 8, 9]


class Deployment(Stack):
    """A stack whose service and workers log in to Redis as themselves."""

    def __init__(self, settings: Settings, socket: Path, logs: Path) -> None:
        super().__init__(settings.model_copy(update={"redis_url": url(socket, "service")}), logs=logs)
        self._socket = socket

    def start_process(self, name: str, arguments: list[str]) -> Popen[bytes]:
        """Start one process with the address of its role."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(os.environ, "REDIS_URL", url(self._socket, name.partition("-")[0]))
            return super().start_process(name, arguments)


def url(socket: Path, role: str) -> str:
    return f"unix://preceptor-{role}:{role.upper()}-PASSWORD@{socket}"


def documented_users() -> list[list[str]]:
    """The commands of the page, as words."""
    block = next(
        part for part in re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL) if "ACL SETUSER" in part
    )
    return [command.split() for command in block.split("\n\n")]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    """A server of its own, with the users of the page and none without a password."""
    folder = Path(tempfile.mkdtemp(prefix="preceptor-users-"))
    running = EmbeddedRedis(folder / "redis")
    running.ensure()
    with redis.Redis(unix_socket_path=str(running.socket)) as operator:
        for words in documented_users():
            operator.execute_command(*words)
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def deployment(server: EmbeddedRedis) -> Iterator[Deployment]:
    folder = server.folder.parent
    settings = Settings(data=folder / "data", port=0, threads=1)
    with Deployment(settings, server.socket, folder / "logs") as running:
        yield running


def denials(server: EmbeddedRedis) -> list[tuple[object, ...]]:
    """What was refused to whom."""
    with redis.Redis(unix_socket_path=str(server.socket), decode_responses=True) as operator:
        entries = operator.acl_log()
    return [(entry["username"], entry["reason"], entry["object"]) for entry in entries]


def test_the_page_has_a_user_for_each_role() -> None:
    assert [words[2] for words in documented_users()] == [f"preceptor-{role}" for role in ROLES]


def test_whole_jobs_run_with_a_user_for_each_role(
    deployment: Deployment, server: EmbeddedRedis, tmp_path: Path
) -> None:
    with Client(deployment.url) as client:
        folder = digits_zoo.write_teacher(tmp_path, "all digits", list(range(10)))
        teacher = client.teachers.add_folder(folder)
        assert teacher.status == "ready"
        labelled = client.probes.upload(digits_zoo.probe(CLASSES, 900, 1200, per_class=5), format="npz")
        ranking = client.recommendations.create(probe=labelled.id)
        assert ranking.wait(timeout=100).ranking[0].name == "all digits"
        job = client.distillations.create(
            data=labelled.id, recommendation=ranking.id, training={"epochs": 2, "batch_size": 32, "seeds": 1}
        )
        seen = {event.event for event in job.events()}
        assert {"status", "progress", "epoch"} <= seen
        distilled = job.wait(timeout=100)
        promoted = client.students.promote(distilled.student, name="my student")
        assert promoted.validation is not None
        client.jobs.get(promoted.validation).wait(timeout=100)
        waiting = client.distillations.create(data=labelled.id, teachers=[teacher.id], training={"epochs": 5000})
        waiting.cancel()
        client.teachers.delete(promoted.id)
        health = client.health()
    assert health.status == "ok"
    assert denials(server) == []


def test_a_redis_that_has_lost_everything_is_filled_again(deployment: Deployment, server: EmbeddedRedis) -> None:
    """The worker may not rebuild the index: it waits for the service, whose reaper does."""
    labels = LabelSetBody(labels=["a", "b"], embeddings=[[1.0, 0.0], [0.0, 1.0]])
    zoo = Candidate(name="zoo", labels=labels.labels, embeddings=labels.embeddings)
    with Client(deployment.url, timeout=60) as client:
        known = {teacher.id for teacher in client.teachers.list()}
        with redis.Redis(unix_socket_path=str(server.socket)) as operator:
            operator.flushall()
        job = client.recommendations.create(student=labels, candidates=[zoo])
        assert job.wait(timeout=100).ranking[0].name == "zoo"
        assert {teacher.id for teacher in client.teachers.list()} == known
    assert {object for _, _, object in denials(server)} <= {"preceptor:lock:rebuild"}


@pytest.mark.parametrize(
    ("role", "command"),
    [
        *(
            (role, command)
            for role in ROLES
            for command in (
                "FLUSHALL", "CONFIG GET *", "KEYS *", "SCAN 0", "ACL LIST", "SET other 1", "GET other",
                "SCRIPT FLUSH", "FUNCTION FLUSH", "CLIENT LIST", "MONITOR", "SHUTDOWN", "PUBLISH other x",
                "EVAL return(redis.call('GET','other')) 0", "REPLICAOF a 1", "MODULE LIST", "SWAPDB 0 1",
            )
        ),
        ("service", "XREADGROUP GROUP g c STREAMS preceptor-recommend:stream >"),
        ("service", "XAUTOCLAIM preceptor-distill:stream g c 0 0"),
        ("worker", "HGETALL preceptor:webhooks"),
        ("worker", "ZADD preceptor:webhooks:due 1 x"),
        ("worker", "HGETALL preceptor:idempotency:x"),
        ("worker", "SET preceptor:lock:rebuild x"),
        ("worker", "SET preceptor:index x"),
        ("worker", "INFO"),
        ("metrics", "ZADD preceptor:lane:recommend:waiting 1 x"),
        ("metrics", "ZRANGE preceptor:lane:recommend:waiting 0 -1"),
        ("metrics", "HGETALL preceptor:teachers"),
        ("metrics", "XADD preceptor-recommend:stream * a b"),
        ("metrics", "SUBSCRIBE preceptor:wake:x"),
    ],
)  # fmt: skip
def test_what_a_role_must_not_do(server: EmbeddedRedis, role: str, command: str) -> None:
    with (
        redis.Redis.from_url(url(server.socket, role)) as client,
        pytest.raises(ResponseError, match=r"(?i)permission|can't access"),
    ):
        client.execute_command(*command.split())


def test_the_reader_of_metrics_reads_metrics(server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(url(server.socket, "metrics"), decode_responses=True) as client:
        assert client.ping()
        assert "used_memory" in client.info()
        assert client.zcard("preceptor:lane:recommend:waiting") == 0
