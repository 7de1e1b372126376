"""The command `preceptor` itself, with its groups."""

from importlib.metadata import version as installed
from typing import Annotated

import typer

from . import (
    audit,
    distill,
    doctor,
    health,
    jobs,
    labels,
    predictions,
    probes,
    recommend,
    students,
    teachers,
    webhooks,
)
from .failures import ReportingGroup
from .session import KeyOption, UrlOption

app = typer.Typer(
    name="preceptor",
    cls=ReportingGroup,
    help="Rank a zoo of pre-trained classifiers for a new task, and distil the best of them.",
    epilog="API keys are made where the service runs: `preceptor-server keys`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"preceptor {installed('preceptor')}")
        raise typer.Exit


@app.callback()
def shared(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print this program's version.")
    ] = False,
) -> None:
    """Rank a zoo of pre-trained classifiers for a new task, and distil the best of them."""
    context.obj = {"as_json": as_json, "url": url, "api_key": api_key}
    context.meta["as_json"] = as_json


app.add_typer(teachers.group, name="teachers")
app.add_typer(probes.group, name="probes")
app.add_typer(predictions.group, name="predictions")
app.add_typer(labels.group, name="labels")
recommend.attach(app)
distill.attach(app)
app.add_typer(jobs.group, name="jobs")
jobs.attach(app)
app.add_typer(students.group, name="students")
app.add_typer(webhooks.group, name="webhooks")
audit.attach(app)
health.attach(app)
doctor.attach(app)
