"""Structured logs: one line an event, readable on a console or JSON for a collector."""

import io
import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo

from service.core.settings import Settings


def configure(settings: Settings, process: str) -> None:
    """Send all logs of this process to standard error.

    Parameters
    ----------
    process
        Name of the process in every line.
    """
    level = getattr(logging, settings.log_level.upper())

    def name_process(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        event.setdefault("process", process)
        return event

    shared: list[Any] = [
        name_process,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        one_line,
    ]
    if settings.log_format == "json":
        renderer: Any = structlog.processors.JSONRenderer()
        # Without the values of variables: a record or a key may be among them.
        renderer_input = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        shared.append(structlog.processors.ExceptionRenderer(renderer_input))
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_traceback)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("docket", "uvicorn.access", "httpx", "httpcore", "asyncio", "transformers"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


def visible(text: str) -> str:
    """A text with what cannot be seen, and may move a terminal's cursor or begin a new line, written as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)


def one_line(_: Any, __: str, event: EventDict) -> EventDict:
    """Make the texts of a log line visible: paths, names and messages can be untrusted."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = visible(value)
    return event


def _traceback(out: TextIO, error: ExcInfo) -> None:
    """Write a traceback with its lines moved in: the message at its end can be untrusted, and can have many."""
    whole = io.StringIO()
    structlog.dev.plain_traceback(whole, error)
    out.write("\n".join(f"    {visible(line)}".rstrip() for line in whole.getvalue().split("\n")))
