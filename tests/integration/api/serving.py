"""The service on a real socket, in a thread of the test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI


class Served(uvicorn.Server):
    """A server in a thread; signals stay with the test runner."""

    def install_signal_handlers(self) -> None:
        pass


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Serve an application; gives its address."""
    server = Served(uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
