"""Reports a distillation to the operator's MLflow server, if configured. No request can set the server."""

from typing import Any, Final

from preceptor.contract.distillations import DistillationBody
from preceptor.contract.teachers import Teacher
from service.core.errors import StateUnavailable, StoreFull, StoreUnavailable
from service.core.settings import Settings
from worker.distillation.result import OnEvent, Outcome
from worker.distillation.tracking.mlflow_run import MlflowRun, flat
from worker.distillation.tracking.mlflow_server import MlflowServer

from ..context import JobContext, Stopped

_ASKED: Final = {"student", "loss", "training", "compare", "data", "transfer", "test", "recommendation"}
_TRIED_AGAIN: Final = (StateUnavailable, StoreUnavailable, StoreFull, OSError)


class Tracked:
    """One delivery of one distillation, reported to MLflow if configured."""

    def __init__(
        self, settings: Settings, context: JobContext, body: DistillationBody, teachers: list[Teacher]
    ) -> None:
        self._emit: OnEvent = context.emit
        self._run: MlflowRun | None = None
        if settings.mlflow_tracking_uri is None:
            return
        secret = settings.mlflow_authorization
        self._run = MlflowRun(
            MlflowServer(settings.mlflow_tracking_uri, None if secret is None else secret.get_secret_value()),
            settings.mlflow_experiment,
            context.job_id,
            body.name or context.job_id,
            flat(body.model_dump(mode="json", include=_ASKED)),
            {
                "preceptor.teachers": ", ".join(teacher.id for teacher in teachers),
                "preceptor.teacher_names": ", ".join(teacher.name for teacher in teachers),
            },
        )

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        """Forward an event."""
        self._emit(kind, data)
        if self._run is not None:
            self._run.event(kind, data)

    def succeeded(self, student: str, outcome: Outcome) -> None:
        """The end, with the results."""
        if self._run is None:
            return
        values = {"accuracy": outcome.with_teacher.mean, "test_items": float(outcome.test_items)}
        if outcome.without_teacher is not None:
            values["accuracy_without_teacher"] = outcome.without_teacher.mean
        if outcome.gain is not None:
            values |= {"gain": outcome.gain.mean, "gain_low": outcome.gain.low, "gain_high": outcome.gain.high}
        for name, control in outcome.controls.items():
            values["gain_over_" + "_".join(name.split())] = control.gain.mean
        tags = {
            "preceptor.student": student,
            "preceptor.verdict": outcome.verdict,
            "preceptor.advice": outcome.advice,
        }
        self._run.result(values, tags)
        self._run.end("FINISHED")

    def broke_off(self, error: BaseException) -> None:
        """The end without a result; a job that is retried, or resumed by another worker, continues the same run."""
        if self._run is None:
            return
        if isinstance(error, Stopped):
            self._run.end({"canceled": "KILLED", "timeout": "FAILED"}.get(error.reason))
        elif isinstance(error, _TRIED_AGAIN) or not isinstance(error, Exception):
            self._run.end(None)
        else:
            self._run.end("FAILED")
