"""`preceptor health` and `preceptor version`"""

from importlib.metadata import version as installed

import typer

from ..errors import PreceptorError
from .session import Session, command
from .tables import Listing, facts


def attach(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "health")(health)
    command(app, "version")(version)


def health(session: Session) -> None:
    """Say whether the service can do its work; exit code 1 where it cannot."""
    found = session.client.health()
    if session.as_json:
        session.emit(found)
    else:
        session.out.print(f"{session.client.base_url}: {found.status}")
        made = Listing("check", "status", "detail")
        for name, check in found.checks.items():
            made.row(name, check.status, check.detail)
        if found.checks:
            made.show(session)
    if found.status != "ok":
        raise typer.Exit(1)


def version(session: Session) -> None:
    """Print the versions of this program and of the service."""
    ours = installed("preceptor")
    try:
        service = session.client.version()
    except PreceptorError:
        if not session.as_json:
            session.out.print(f"preceptor {ours}")
        raise
    if session.as_json:
        session.emit({"client": ours, **service.model_dump(mode="json")})
    else:
        facts(
            session,
            [("client", ours), ("service", service.service), ("api", service.api), ("python", service.python)],
        )
