"""From exceptions to one readable message on stderr and an exit code; no trace ever reaches the person.

Codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

import errno
import json
import os
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from ..errors import JobFailedError, LocalFileError, PreceptorError, StatusError
from ..text import plain

_HERE: Final = (
    ("POST /v1/teachers, upload its files, validate it", "`preceptor teachers add FOLDER`"),
    ("POST /v1/webhooks/", "`preceptor webhooks enable` for "),
    ("/enable", ""),
    ("DELETE /v1/teachers/<id>", "`preceptor teachers rm`"),
    ("DELETE /v1/probes/<id>", "`preceptor probes rm`"),
    ("DELETE /v1/label-sets/<id>", "`preceptor labels rm`"),
    ("GET /v1/teachers", "`preceptor teachers list`"),
    ("GET /v1/webhooks", "`preceptor webhooks list`"),
    ("GET /v1/jobs", "`preceptor jobs list`"),
    ("POST /v1/label-sets", "`preceptor labels add`"),
    ("POST /v1/probes", "`preceptor probes add FILE`"),
    ("PUT /v1/teachers/{id}/predictions/{probe}", "`preceptor predictions upload`"),
    ("send student.labels", "give them with --labels"),
    ("?labels=", "--labels"),
    ("?format=", "--format"),
    (" as the body (curl --data-binary @file)", ""),
    (" as Authorization: Bearer <text>", ""),
    ("path:id: ", ""),
)
"""What the service says to those who speak HTTP, as it is said on the command line."""


class ReportingGroup(TyperGroup):
    """The root group: it sees every exception of every command."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except PreceptorError as error:
            report(error, as_json=_as_json(ctx))
            raise typer.Exit(1) from error
        except BrokenPipeError as error:
            # The reader has gone (`| head`). Nothing is left to say, not even by the interpreter at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            report(LocalFileError(error), as_json=_as_json(ctx))
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            sys.stderr.write("Interrupted\n")
            raise typer.Exit(130) from error


def _as_json(ctx: Any) -> bool:
    return bool(ctx.find_root().meta.get("as_json"))


def report(error: PreceptorError, *, as_json: bool) -> None:
    """Say on stderr what went wrong: for a person, or as one line of JSON."""
    problem = error.problem if isinstance(error, StatusError | JobFailedError) else None
    if as_json:
        known = problem.model_dump(mode="json") if problem else {"title": type(error).__name__, "detail": str(error)}
        sys.stderr.write(json.dumps({"error": known}) + "\n")
        return
    text = plain(str(error))
    for http, command in _HERE:
        text = text.replace(http, command)
    lines = [f"Error: {text}"]
    if isinstance(error, StatusError) and error.request_id and error.status >= 500:
        lines.append(f"  request {error.request_id} (the service's log carries this id)")
    sys.stderr.write("\n".join(lines) + "\n")
