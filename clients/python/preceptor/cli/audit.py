"""`preceptor audit`"""

import typer

from ..contract.audit import Audit, TeamAudit
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
    if not found.entries and not found.teams.entries:
        session.note(
            "Nothing to audit yet. An entry needs a finished distillation from a recommendation (`preceptor distill "
            "--recommendation ID`) that was compared with training without teachers"
        )
        return
    if found.teams.entries:
        session.out.print(f"From teams, which no estimator is judged by: {_summary(found.teams)}")
    if not found.entries:
        session.note("No distillation from a single recommended teacher yet (`--team 1`): no estimator can be judged")
        return
    session.out.print(f"From one recommended teacher: {_summary(found)}")
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


def _summary(found: Audit | TeamAudit) -> str:
    gain = "" if found.mean_gain is None else f"; mean gain {found.mean_gain:+.1%}"
    many = "distillation" if found.entries == 1 else "distillations"
    return f"{found.entries} {many}: {found.helped} helped, {found.hurt} hurt{gain}"
