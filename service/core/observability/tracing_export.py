"""OpenTelemetry traces, enabled by the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, ...); not loaded otherwise.

A separate thread sends spans to the collector. If the collector does not answer, spans are lost and a line is logged
once a minute; requests and jobs are not affected.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from service.core.observability import tracing

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TIMEOUT: Final = 3.0
"""Seconds for one batch to the collector, including retries."""
_LAST: Final = 5.0
"""Seconds for the remaining spans when the process ends."""
_QUIET: Final = 60.0

log = structlog.stdlib.get_logger(__name__)


class TelemetryMissing(Exception):
    """Tracing is configured, but the extra is not installed; the message states what to do."""


def wanted() -> bool:
    """Whether the environment configures a collector."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(os.environ.get(name) for name in _ENDPOINTS)


def switch_on(process: str) -> Callable[[], None]:
    """Send traces, if the environment configures a collector.

    Parameters
    ----------
    process
        Value of `service.name`, unless OTEL_SERVICE_NAME is set.

    Returns
    -------
    Callable
        Sends the remaining spans, within five seconds; to be called when the process ends.

    Raises
    ------
    TelemetryMissing
    """
    if not wanted():
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TelemetryMissing(
            "OTEL_EXPORTER_OTLP_ENDPOINT sets a collector, but the OpenTelemetry exporter is not installed: pip "
            "install 'preceptor-server[telemetry]', or unset it"
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME", f"preceptor-{process}")
    # Not at interpreter exit: that would block for as long as a collector that does not answer.
    provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_TIMEOUT)))
    tracing.use(provider)
    for noisy in ("opentelemetry.sdk", "opentelemetry.exporter"):
        _quieten(noisy)

    def switch_off() -> None:
        tracing.use(None)
        # The library's own limit is half a minute, and it sends batch after batch: a process that was asked to end
        # would be killed first.
        last = threading.Thread(target=provider.shutdown, name="last traces", daemon=True)
        last.start()
        last.join(_LAST)
        if last.is_alive():
            log.warning("the collector did not accept the last spans in time; they are lost", seconds=_LAST)

    return switch_off


def _quieten(name: str) -> None:
    """Limit a library's log to one line a minute, without a stack trace."""
    last: dict[str, float] = {}

    def seldom(record: logging.LogRecord) -> bool:
        moment = time.monotonic()
        if moment - last.get(name, -_QUIET) < _QUIET:
            return False
        last[name] = moment
        record.exc_info = None
        return True

    handler: Any = _Seldom(seldom)
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    logger.propagate = False


class _Seldom(logging.Handler):
    """Passes records that a filter accepts to the root's handlers; a filter of the logger would skip its children."""

    def __init__(self, let: Callable[[logging.LogRecord], bool]) -> None:
        super().__init__()
        self.addFilter(let)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        for handler in logging.getLogger().handlers:
            handler.handle(record)
