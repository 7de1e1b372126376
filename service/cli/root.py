"""The command `preceptor-server` with its subcommands. What is heavy is imported by the subcommand that needs it."""

import importlib.util
import os
import sys
from importlib.metadata import version as installed
from typing import Annotated, Any, Final, Literal

import typer
from typer.core import TyperGroup

from service.core.errors import PreceptorError
from service.core.lanes import LANES, Lane

from . import keys
from .configuration import MISCONFIGURED, DataOption, HostOption, PortOption, settings_from
from .exit import leave

_HELP: Final = """Run Preceptor: the HTTP service, its workers, or both on one machine.

Start with `preceptor-server dev`: it runs everything that is needed on this machine, until Ctrl-C. Then, in another
terminal, `preceptor --help` shows what a client can do.

In production, run one `serve` and at least one `worker` on each lane, with the same settings. Settings are environment
variables, `PRECEPTOR_...`; docs/configuration.md lists them.
"""


class ReportingGroup(TyperGroup):
    """Reports what a command cannot do as one message, without a trace."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except PreceptorError as error:
            print(f"Error: {error}", file=sys.stderr)
            leave(1)


app = typer.Typer(
    name="preceptor-server",
    cls=ReportingGroup,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"preceptor-server {installed('preceptor-server')}")
        raise typer.Exit


@app.callback()
def shared(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print this program's version.")
    ] = False,
) -> None:
    """Options of the command itself; the text of its help is `_HELP`."""


@app.command()
def dev(data: DataOption = None, host: HostOption = None, port: PortOption = None) -> None:
    """Run everything on this machine: Redis, the service, a worker on each lane.

    For trying it out and for development. Ctrl-C stops all of it: running jobs go back to the queue and resume with the
    next start.
    """
    from .dev_stack import run

    raise typer.Exit(run(settings_from(data=data, host=host, port=port)))


@app.command()
def serve(data: DataOption = None, host: HostOption = None, port: PortOption = None) -> None:
    """Run the HTTP service alone.

    It accepts requests and queues jobs; workers do them. On an address that other machines can reach it needs an API
    key (`preceptor-server keys create`) or another way of authentication.
    """
    from .serve import run

    run(settings_from(data=data, host=host, port=port))


@app.command()
def worker(
    lane: Annotated[
        Literal["recommend", "distill"],
        typer.Option(help="Queue to work on: `recommend` ranks and validates teachers, `distill` trains students."),
    ],
    data: DataOption = None,
) -> None:
    """Run one worker on one lane.

    It needs the service's Redis and store: the same REDIS_URL, PRECEPTOR_STORE and PRECEPTOR_DATA. SIGTERM drains it:
    the running job goes back to the queue.
    """
    settings_from(data=data)
    if importlib.util.find_spec("torch") is None:
        print("The worker needs torch: pip install 'preceptor-server[worker]'", file=sys.stderr)
        raise typer.Exit(MISCONFIGURED)
    sys.stdout.flush()
    os.execv(sys.executable, worker_command(lane))  # noqa: S606


def worker_command(lane: Lane) -> list[str]:
    """What becomes of this process: a worker that has imported nothing of the service's frontend."""
    assert lane in LANES
    # An installed script does not import from the working folder; the worker in its place must not either.
    safe = [] if str(os.getcwd()) in sys.path or "" in sys.path else ["-P"]  # noqa: PTH109 - as in sys.path
    return [sys.executable, *safe, "-m", "worker", "--lane", lane]


app.add_typer(keys.group, name="keys")
