"""`preceptor audit`"""

import typer

from .session import Session, command
from .tables import Listing


def attach(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "audit")(audit)


def audit(session: Session) -> None:
    """Say how well the rankings foresaw what distilling gained, on this service's own distillations."""
    found = session.client.audit()
    if session.as_json:
        session.emit(found)
        return
    if not found.entries:
        session.note(
            "Nothing to audit yet. It takes distillations from a recommendation (`preceptor distill "
            "--recommendation ID`) that were compared with no teacher"
        )
        return
    gain = "" if found.mean_gain is None else f"; mean gain {found.mean_gain:+.1%}"
    many = "distillation" if found.entries == 1 else "distillations"
    session.out.print(f"{found.entries} {many}: {found.helped} helped, {found.hurt} hurt{gain}")
    made = Listing(
        "estimator", ("entries", "right"), ("pairs", "right"), ("right", "right"), ("tau", "right"), ("rho", "right")
    )
    for row in found.estimators:
        made.row(
            row.estimator,
            row.entries,
            row.pairs,
            None if row.agreement is None else f"{row.agreement:.0%}",
            None if row.kendall is None else f"{row.kendall:+.2f}",
            None if row.spearman is None else f"{row.spearman:+.2f}",
        )
    made.show(session)
