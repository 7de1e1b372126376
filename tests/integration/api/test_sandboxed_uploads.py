"""Uploads to a running service: what a file does to the process that reads it, the service survives."""

import io
import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from service.core.settings import Settings
from tests.unit.ingest.hostile_files import blank, footer, shared


def features(seed: int) -> bytes:
    """A small probe."""
    buffer = io.BytesIO()
    np.savez(buffer, features=np.random.default_rng(seed).normal(size=(6, 4)), labels=["a", "b"] * 3)
    return buffer.getvalue()


SLOW = shared(blank(4000), 400_000)
"""A minute and more, until all pixels that a probe may have are decoded."""


def soon(holds: Callable[[], bool]) -> bool:
    """Whether something holds within some seconds."""
    until = time.monotonic() + 20
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def readers() -> set[int]:
    """Processes that read an upload: children of a fork server that is a child of ours."""
    return {pid for child in children(os.getpid()) if b"sandbox" in command(child) for pid in children(child)}


def children(pid: int) -> set[int]:
    """Processes whose parent this is."""
    found = set[int]()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found |= {int(number) for number in path.read_text().split()}
        except OSError:
            continue
    return found


def command(pid: int) -> bytes:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def post(url: str, content: bytes, format: str) -> httpx2.Response:
    """Upload a probe."""
    return httpx2.post(f"{url}/v1/probes?format={format}", content=content, timeout=100)


def left_over(settings: Settings) -> list[Path]:
    """Files of uploads in flight."""
    return [path for path in settings.data.rglob(".staging/*/*") if path.name != ".lock"]


def test_a_reader_that_is_killed(base_url: str, settings: Settings) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, base_url, SLOW, "parquet")
        assert soon(lambda: len(readers()) == 1)
        os.kill(readers().pop(), signal.SIGKILL)
        refused = answer.result()
    assert refused.status_code == 422
    assert refused.json()["type"].endswith("invalid-probe")
    assert "ended the process that read it (SIGKILL; out of memory?)" in refused.json()["detail"]
    assert post(base_url, features(0), "npz").status_code == 201
    assert soon(lambda: not left_over(settings))


def test_a_caller_that_goes(base_url: str, settings: Settings) -> None:
    host, port = base_url.removeprefix("http://").split(":")
    for _ in range(2 * (os.cpu_count() or 1)):  # More than may be read at once: no slot is lost.
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v1/probes?format=parquet HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(SLOW)}\r\n\r\n"
            connection.sendall(head.encode() + SLOW)
            assert soon(lambda: len(readers()) == 1)
        assert soon(lambda: not readers())
    assert post(base_url, features(1), "npz").status_code == 201
    assert soon(lambda: not left_over(settings))


@pytest.mark.parametrize("content", [footer(chunks=140_000), shared("x" * 100_000, 5000, "text")])
def test_what_asks_for_too_much(base_url: str, settings: Settings, content: bytes) -> None:
    assert post(base_url, content, "parquet").status_code == 413
    assert not left_over(settings)


def test_more_at_once_than_there_are_cores(base_url: str, http: httpx2.Client) -> None:
    seen: list[int] = []
    with ThreadPoolExecutor(24) as pool:
        answers = [pool.submit(post, base_url, features(seed), "npz") for seed in range(24)]
        while not all(answer.done() for answer in answers):
            seen.append(len(readers()))
            assert http.get("/health/live").status_code == 200
        assert [answer.result().status_code for answer in answers] == [201] * 24
    assert max(seen) <= (os.cpu_count() or 1) + 1, "one may be on its way out"


def test_predictions_are_read_there_too(base_url: str, http: httpx2.Client) -> None:
    probe = post(base_url, features(2), "npz").json()["id"]
    body: dict[str, Any] = {
        "name": "black box", "modality": "features", "source": {"kind": "predictions"}, "labels": ["a", "b", "c"],
    }  # fmt: skip
    teacher = http.post("/v1/teachers", json=body).json()["id"]
    path = f"/v1/teachers/{teacher}/predictions/{probe}?values=logits"
    buffer = io.BytesIO()
    np.save(buffer, np.ones((6, 3), np.uint8))
    assert http.put(path, content=buffer.getvalue()).status_code == 201
    buffer = io.BytesIO()
    np.save(buffer, np.ones((6, 2), np.uint8))
    refused = http.put(path, content=buffer.getvalue())
    assert (refused.status_code, "of shape (6, 3)" in refused.json()["detail"]) == (422, True)
