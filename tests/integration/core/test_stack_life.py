"""A stack's own life: it shares neither its port nor its folder, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from service.app import create_app
from service.cli.dev_stack import Stack, StackError
from service.core.redis.embedded import EmbeddedRedis
from service.core.settings import Settings
from tests.integration.api.serving import serve


@contextmanager
def started(data: Path, port: int = 0) -> Iterator[subprocess.Popen[str]]:
    """`preceptor-server dev`, as a process."""
    environment = {**os.environ, "PRECEPTOR_DATA": str(data), "PRECEPTOR_PORT": str(port)}
    environment.pop("REDIS_URL", None)
    command = [sys.executable, "-m", "service.cli", "dev"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


def noted(data: Path) -> dict[str, int]:
    """What the lock of a folder names."""
    with suppress(OSError, ValueError):
        return json.loads((data / "stack.lock").read_text())
    return {}


def until_redis_runs(data: Path, process: subprocess.Popen[str]) -> int:
    """Process id of the stack's Redis: its service and workers start at this moment."""
    while "redis" not in noted(data):
        assert process.poll() is None
        time.sleep(0.01)
    return noted(data)["redis"]


def children(parent: int) -> list[int]:
    """Processes that one has started."""
    return [int(number) for number in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def gone(number: int) -> bool:
    """Whether there is no such process, or one that nobody has waited for."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_during_the_start_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    data = tmp_path / "data"
    with started(data) as process:
        redis = until_redis_runs(data, process)
        while not (begun := children(process.pid)):
            assert process.poll() is None
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Stopped before it was ready" in out
        assert "Traceback" not in error
    assert all(map(gone, begun))
    assert gone(redis)
    assert not EmbeddedRedis(data / "redis").alive()


def test_a_folder_has_one_stack(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data) as first:
        redis = until_redis_runs(data, first)
        with started(data) as second:
            out, error = second.communicate(timeout=60)
            assert second.returncode == 1
            assert out == ""
            assert error.count("\n") == 1
            assert f"process {first.pid}" in error
            assert "PRECEPTOR_DATA" in error
        assert not gone(redis), "it is the first one's"
        first.terminate()
        first.communicate(timeout=60)
        assert gone(redis)
    assert noted(data) == {}


def test_the_redis_of_a_killed_stack_ends_with_the_next(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data) as killed:
        redis = until_redis_runs(data, killed)
        while not (orphans := children(killed.pid)):
            pass
        killed.kill()
        killed.wait()
    for orphan in orphans:
        with suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)
    assert not gone(redis)
    with started(data) as following:
        while noted(data).get("stack") != following.pid or "redis" not in noted(data):
            assert following.poll() is None
            time.sleep(0.01)
        following.terminate()
        following.communicate(timeout=60)
    assert gone(redis)


def test_a_port_that_another_program_has_is_one_message(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, started(tmp_path / "data", taken.getsockname()[1]) as stack:
        _, error = stack.communicate(timeout=60)
        assert stack.returncode == 1
    assert error.count("\n") == 1
    assert "is in use by another program" in error
    assert "PRECEPTOR_PORT" in error
    assert not EmbeddedRedis(tmp_path / "data" / "redis").alive(), "nothing was started"


def test_another_preceptor_is_not_taken_for_the_new_one(tmp_path: Path, settings: Settings) -> None:
    with serve(create_app(settings)) as url:
        stack = Stack(Settings(data=tmp_path / "new", port=int(url.rpartition(":")[2])))
        with pytest.raises(StackError, match="is in use by a Preceptor"):
            stack.start()


def test_a_service_whose_port_was_taken_meanwhile_is_not_restarted(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, redis_url="redis://127.0.0.1:1", port=0)
    stack = Stack(settings)
    stack.start_process("service", ["-c", "raise SystemExit(1)"])
    with socket.create_server(("127.0.0.1", int(stack.url.rpartition(":")[2]))):
        with pytest.raises(StackError, match="is in use by another program"):
            stack.supervise()
        stack.stop()


def test_a_folder_that_cannot_be_made_is_one_message() -> None:
    with pytest.raises(StackError, match="the folder /dev/null/data cannot be made"):
        Stack(Settings(data=Path("/dev/null/data"), port=0)).start()
