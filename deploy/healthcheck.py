"""What a container's health check runs: `healthcheck.py service` or `healthcheck.py worker`.

The service is healthy where it answers. A worker has no port; it is healthy where its last sign of life in Redis is
recent. Neither looks at its neighbours: a restart would not mend them. `/health/ready` tells of the whole stack.

It runs every few seconds, so it imports no more than a few modules of the standard library. Names and defaults of
settings and keys are those of `service.core`; a test compares them.
"""

import os
import socket
import sys
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

_TIMEOUT: Final = 5.0
PORT: Final = 8321
LEASE_SECONDS: Final = 10.0
LEASES: Final = 3.0
"""A worker shows life three times a lease; after so many leases of silence it hangs."""

WORKERS: Final = ("preceptor:lane:recommend:workers", "preceptor:lane:distill:workers")
"""Sorted sets of worker names by the time of their last sign of life."""


def service_problem(port: int) -> str | None:
    """What is wrong with the service in this container; None where it answers."""
    url = f"http://127.0.0.1:{port}/health/live"
    try:
        with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            first = connection.makefile("rb").readline(1000)
    except OSError as error:
        return f"{url}: {error}"
    status = first.split()[1:2]
    return None if status == [b"200"] else f"{url}: {first.decode('latin-1').strip() or 'no answer'}"


class _Redis:
    """A connection that speaks as much of Redis' protocol as is needed here.

    Parameters
    ----------
    url
        `redis://`, `rediss://` or `unix://`, with user, password and database as redis-py reads them.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.scheme == "unix":
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(_TIMEOUT)
            self._socket.connect(unquote(parts.path))
        else:
            host, port = unquote(parts.hostname or "localhost"), parts.port or 6379
            self._socket = socket.create_connection((host, port), _TIMEOUT)
            if parts.scheme == "rediss":
                self._socket = _encrypted(self._socket, host, options)
        self._file = self._socket.makefile("rb")
        user = unquote(parts.username or "") or options.get("username", "")
        password = unquote(parts.password or "") or options.get("password", "")
        if password:
            self.ask("AUTH", *([user] if user else []), password)
        database = options.get("db") or ("" if parts.scheme == "unix" else parts.path.strip("/"))
        if database not in ("", "0"):
            self.ask("SELECT", database)

    def __enter__(self) -> "_Redis":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, *words: str) -> "int | bytes | list[bytes] | None":
        """Send a command, read its answer.

        Raises
        ------
        OSError
            The connection was lost, or Redis answered with an error.
        """
        parts = [word.encode() for word in words]
        message = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%s" % (len(parts), message))
        return self._answer()

    def _answer(self) -> "int | bytes | list[bytes] | None":
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the connection was closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise OSError(rest.decode(errors="replace"))
        if kind == b"+":
            return rest
        number = int(rest)
        if kind == b":" or number < 0:
            return number if kind == b":" else None
        if kind == b"$":
            return self._file.read(number + 2)[:-2]
        return [part if isinstance(part, bytes) else b"" for part in (self._answer() for _ in range(number))]


def _encrypted(plain: socket.socket, host: str, options: dict[str, str]) -> socket.socket:
    import ssl

    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
    if options.get("ssl_check_hostname", "true").lower() in ("false", "no", "0"):
        context.check_hostname = False
    if options.get("ssl_cert_reqs", "required") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context.wrap_socket(plain, server_hostname=host)


def worker_problem(url: str | None, lease_seconds: float, host: str) -> str | None:
    """What is wrong with the worker on this host; None where it has shown life lately.

    Workers are named `<host>-<process>`; a container has a host name of its own.
    """
    if not url:
        return "REDIS_URL is not set"
    try:
        with _Redis(url) as redis:
            # Redis' clock, by which workers show life: this container's may differ.
            moment = redis.ask("TIME")
            assert isinstance(moment, list)
            since = int(moment[0]) - LEASES * lease_seconds
            for key in WORKERS:
                names = redis.ask("ZRANGEBYSCORE", key, str(since), "+inf")
                assert isinstance(names, list)
                if any(name.rpartition(b"-")[0] == host.encode() for name in names):
                    return None
    except (OSError, ValueError) as error:
        return f"Redis: {error}"
    return f"no sign of life of {host} in the last {LEASES * lease_seconds:.0f} s"


def main(arguments: list[str]) -> int:
    """Exit status 0 where healthy; else 1, with the reason on standard output."""
    problem: str | None = "usage: healthcheck.py service|worker"
    try:
        if arguments == ["service"]:
            problem = service_problem(int(os.environ.get("PRECEPTOR_PORT") or PORT))
        elif arguments == ["worker"]:
            url = os.environ.get("PRECEPTOR_REDIS_URL") or os.environ.get("REDIS_URL")
            lease_seconds = float(os.environ.get("PRECEPTOR_LEASE_SECONDS") or LEASE_SECONDS)
            problem = worker_problem(url, lease_seconds, socket.gethostname())
    except ValueError as error:
        problem = f"a setting is no number: {error}"
    print(problem or "ok")
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
