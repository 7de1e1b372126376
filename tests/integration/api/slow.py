"""Clients that take their time, on a bare socket."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI

from service.server import protocol

from .serving import Served


@contextmanager
def limited(app: FastAPI, head_seconds: float = 30.0, most: int = 4096) -> Iterator[str]:
    """Serve an application as `python -m service` does; gives its address."""
    config = uvicorn.Config(
        app,
        port=0,
        http=protocol(head_seconds, most),
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = Served(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


def connected(url: str) -> socket.socket:
    """A connection on which nothing was sent."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=10)


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received
