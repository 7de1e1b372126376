"""Client for the part of MLflow's tracking API (REST, version 2.0) that a run needs.

MLflow's own client is not used. It installs some forty packages, including a cloud vendor's SDK, and retries a failed
request for minutes; five requests with a separate retry policy suffice here.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpcore2

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 15.0
_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})
Json = dict[str, Any]


class Unreachable(Exception):
    """The server did not answer, or requested a retry; the message has no secrets."""


class Refusing(Exception):
    """The server rejected the request permanently.

    Attributes
    ----------
    code
        MLflow's error code, such as RESOURCE_DOES_NOT_EXIST.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class MlflowServer:
    """A tracking server. Blocks; for one thread.

    Parameters
    ----------
    uri
        Its address, without credentials.
    authorization
        Value of the Authorization header; None if it requires none.
    """

    def __init__(self, uri: str, authorization: str | None = None, *, seconds: float = ANSWER_SECONDS) -> None:
        self._base = uri.rstrip("/")
        self.host = urlsplit(uri).netloc
        self._headers = {
            "Host": self.host,
            "User-Agent": f"preceptor/{version('preceptor-server')}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self._limits = {"connect": CONNECT_SECONDS, "pool": CONNECT_SECONDS, "read": seconds, "write": seconds}
        # No connection is kept between batches, which may be minutes apart.
        self._pool = httpcore2.ConnectionPool(max_keepalive_connections=0)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def experiment(self, name: str) -> str:
        """The id of an experiment; it is created if absent."""
        try:
            return self._named(name)
        except Refusing as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
        try:
            return self._ask("POST", "experiments/create", {"name": name})["experiment_id"]
        except Refusing as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
            return self._named(name)  # Another worker created it first.

    def _named(self, name: str) -> str:
        return self._ask("GET", f"experiments/get-by-name?experiment_name={quote(name, safe='')}")["experiment"][
            "experiment_id"
        ]

    def run(self, experiment: str, name: str, tags: Mapping[str, str], key: str, began: int) -> str:
        """The run with the tag `key` of `tags`, set to running again, or a new one.

        Parameters
        ----------
        began
            Milliseconds since 1970, for a new run.
        """
        found = self._ask(
            "POST",
            "runs/search",
            {"experiment_ids": [experiment], "filter": f"tags.`{key}` = '{tags[key]}'", "max_results": 1},
        ).get("runs", [])
        if found:
            id = found[0]["info"]["run_id"]
            self.update(id, "RUNNING", None)
            return id
        body = {"experiment_id": experiment, "run_name": name, "start_time": began, "tags": _pairs(tags)}
        return self._ask("POST", "runs/create", body)["run"]["info"]["run_id"]

    def log(self, run: str, metrics: list[Json], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Add to a run: at most 1000 metrics, 100 parameters and 100 tags."""
        self._ask(
            "POST",
            "runs/log-batch",
            {"run_id": run, "metrics": metrics, "params": _pairs(params), "tags": _pairs(tags)},
        )

    def update(self, run: str, status: str, ended: int | None) -> None:
        """Set the status of a run: RUNNING, FINISHED, FAILED or KILLED."""
        self._ask("POST", "runs/update", {"run_id": run, "status": status, **({"end_time": ended} if ended else {})})

    def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        content = None if body is None else json.dumps(body).encode()
        try:
            answer = self._pool.request(
                method,
                f"{self._base}/api/2.0/mlflow/{path}",
                headers=list(self._headers.items()),
                content=content,
                extensions={"timeout": self._limits},
            )
        except (
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpcore2.TimeoutException,
            OSError,
        ) as error:
            raise Unreachable(f"{self.host} does not answer: {type(error).__name__}") from None
        if answer.status in _AGAIN:
            raise Unreachable(f"{self.host} answers {answer.status}")
        try:
            found = json.loads(answer.content)
        except ValueError:
            found = {}
        if answer.status != 200 or not isinstance(found, dict):
            error = found if isinstance(found, dict) else {}
            code = str(error.get("error_code", ""))[:80]
            why = str(error.get("message", ""))[:200]
            raise Refusing(
                f"{self.host} answers {answer.status} to {path.partition('?')[0]} {code} {why}".strip(), code
            )
        return found


def _pairs(values: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in values.items()]
