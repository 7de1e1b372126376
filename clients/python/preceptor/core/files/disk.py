"""Failures of the caller's own disk as the SDK's exceptions."""

from collections.abc import Generator
from contextlib import contextmanager

from ...errors import LocalFileError, PreceptorError


@contextmanager
def disk_failures() -> Generator[None]:
    """Raise a LocalFileError for an OSError; a BrokenPipeError passes: it is the end of somebody's output."""
    try:
        yield
    except (PreceptorError, BrokenPipeError):
        raise
    except OSError as error:
        raise LocalFileError(error) from error
