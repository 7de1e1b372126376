"""One distillation as an MLflow run, reported from a separate thread: the job never waits for it.

Pending reports are kept in a list of limited length. If the server is unreachable, the thread retries with growing
pauses during the job and for `AFTER_SECONDS` after its end; then it drops the rest. One warning a job is logged.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import structlog

from preceptor.contract.distillations import EpochMetrics

from .mlflow_server import Json, MlflowServer, Refusing, Unreachable
from .scalars import scalars_of

T = TypeVar("T")
JOB_TAG: Final = "preceptor.job"
PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds between attempts; the last one stays."""
AFTER_SECONDS: Final = 60.0
"""Seconds of retries after the job's end."""
WAITING: Final = 20_000
"""Largest count of pending numbers; further ones are dropped."""
_BATCH: Final = 1000
_PARAMS: Final = 100
_PARAM_LENGTH: Final = 500
_TAG_LENGTH: Final = 4000

log = structlog.stdlib.get_logger(__name__)


class MlflowRun:
    """The run of one job. All methods but `wait` return at once.

    Parameters
    ----------
    server
        Closed by this run.
    job
        Its id. A job that resumes in another process continues the same run.
    name
        Name of the run.
    params
        The requested settings; see `flat`.
    """

    def __init__(
        self,
        server: MlflowServer,
        experiment: str,
        job: str,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        *,
        pauses: tuple[float, ...] = PAUSES,
        after_seconds: float = AFTER_SECONDS,
        waiting: int = WAITING,
    ) -> None:
        self._server, self._experiment, self._job, self._name = server, experiment, job, name
        self._params = {key: value[:_PARAM_LENGTH] for key, value in params.items()}
        self._first_tags = _short(tags) | {JOB_TAG: job}
        self._pauses, self._after, self._waiting = pauses, after_seconds, waiting
        self._began = _now()
        self._changed = threading.Condition()
        self._metrics: list[Json] = []
        self._tags: dict[str, str] = {}
        self._dropped = 0
        self._given_up = False
        self._status: str | None = None
        self._ended: float | None = None
        self._warned = False
        # A daemon: an unreachable server must not delay the exit of the process either.
        self._thread = threading.Thread(target=self._work, name=f"mlflow of {job}", daemon=True)
        self._thread.start()

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """An event of the distillation: epochs and the gate's choice are reported."""
        if kind == "epoch":
            metrics = EpochMetrics.model_validate({name: value for name, value in data.items() if name != "arm"})
            arm = "_".join(str(data["arm"]).split())
            self._say({f"{name}/{arm}": value for name, value in scalars_of(metrics).items()}, metrics.epoch, {})
        elif kind == "weight":
            self._say({"final/weight": float(data["weight"])}, 0, {"preceptor.gate": str(data["reason"])})

    def result(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """The results; the numbers are filed under `final`."""
        self._say({f"final/{name}": value for name, value in metrics.items()}, 0, tags)

    def end(self, status: str | None) -> None:
        """End the reports.

        Parameters
        ----------
        status
            FINISHED, FAILED or KILLED; None if another worker resumes the job, and with it the run.
        """
        with self._changed:
            self._status, self._ended = status, time.monotonic()
            self._changed.notify()

    def wait(self, seconds: float) -> bool:
        """Wait until all is reported or dropped; returns whether it is. No job calls this."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _say(self, values: Mapping[str, float], step: int, tags: Mapping[str, str]) -> None:
        stamp = _now()
        metrics = [{"key": key, "value": value, "timestamp": stamp, "step": step} for key, value in values.items()]
        with self._changed:
            if self._given_up:
                return
            if len(self._metrics) + len(metrics) > self._waiting:
                self._dropped += len(metrics)
            else:
                self._metrics += metrics
            self._tags |= _short(tags)
            self._changed.notify()

    def _work(self) -> None:
        try:
            run = self._patiently(self._open)
            while (batch := self._next()) is not None:
                metrics, tags = batch
                self._patiently(lambda m=metrics, t=tags: self._server.log(run, m, {}, t))
            status = self._status
            if status is not None:
                self._patiently(lambda: self._server.update(run, status, _now()))
        except Unreachable as error:
            self._warn(f"{error}; the rest of this job is not tracked")
        except Refusing as error:
            self._warned = False
            self._warn(f"{error}; the rest of this job is not tracked")
        except Exception as error:
            # No error (an unexpected response, a certificate) may reach the job.
            self._warn(f"{type(error).__name__}; the rest of this job is not tracked")
        finally:
            with self._changed:
                self._given_up = True
                self._metrics.clear()
            self._server.close()
            if self._dropped:
                log.info("MLflow: numbers were dropped", job=self._job, numbers=self._dropped)

    def _open(self) -> str:
        experiment = self._server.experiment(self._experiment)
        run = self._server.run(experiment, self._name, self._first_tags, JOB_TAG, self._began)
        params = list(self._params.items())
        for begin in range(0, len(params), _PARAMS):
            self._server.log(run, [], dict(params[begin : begin + _PARAMS]), {})
        return run

    def _next(self) -> tuple[list[Json], dict[str, str]] | None:
        """The next pending reports; None after the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._metrics or self._tags or self._ended is not None)
            metrics, self._metrics = self._metrics[:_BATCH], self._metrics[_BATCH:]
            tags, self._tags = self._tags, {}
        return (metrics, tags) if metrics or tags else None

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Retry until the server answers.

        Raises
        ------
        Unreachable
            It does not answer, and the job ended `after_seconds` ago.
        Refusing
        """
        attempt = 0
        while True:
            try:
                return ask()
            except Unreachable as error:
                if self._ended is not None and time.monotonic() - self._ended >= self._after:
                    raise
                self._warn(f"{error}; the job continues, and tracking is retried")
            pause = self._pauses[min(attempt, len(self._pauses) - 1)]
            attempt += 1
            with self._changed:
                ended = self._ended
                # The end of the job cuts the pause: the process may exit next.
                self._changed.wait_for(lambda was=ended: self._ended != was, timeout=pause)

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("MLflow", job=self._job, reason=reason)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested JSON values as MLflow's parameters: `training.epochs`; null values are omitted."""
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, list):
            found[name] = ", ".join(map(str, value))
        elif value is not None:
            found[name] = str(value)
    return found


def _short(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value[:_TAG_LENGTH] for key, value in tags.items()}


def _now() -> int:
    return int(time.time() * 1000)
