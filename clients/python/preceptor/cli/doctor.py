"""`preceptor doctor`"""

from typing import Annotated

import typer
from rich.text import Text

from ..text import plain
from .doctor_checks import Examination, Finding
from .session import Session, command

_STYLE = {"ok": "green", "note": "yellow", "fix": "red", "skipped": "dim"}


def attach(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "doctor")(doctor)


def doctor(
    session: Session,
    round_trip: Annotated[
        bool, typer.Option(help="Also rank two made-up classes: it leaves one small job behind.")
    ] = True,
) -> None:
    """Look at a deployment from outside, and say what to fix; exit code 1 where something must be fixed."""
    found: list[Finding] = []
    for finding in Examination(session.client, round_trip=round_trip).findings():
        found.append(finding)
        if not session.as_json:
            _show(session, finding)
    wrong = sum(finding.verdict == "fix" for finding in found)
    if session.as_json:
        session.emit({"ok": not wrong, "findings": [finding.model_dump(mode="json") for finding in found]})
    else:
        session.out.print("Nothing must be fixed." if not wrong else f"To fix: {wrong}")
    if wrong:
        raise typer.Exit(1)


def _show(session: Session, finding: Finding) -> None:
    line = Text(f"{finding.verdict:<8}", style=_STYLE[finding.verdict])
    line.append(f"{finding.subject:<18} {plain(finding.seen)}", style="default")
    session.out.print(line, soft_wrap=True)
    if finding.advice:
        session.out.print(f"{'':<8}-> {plain(finding.advice)}", soft_wrap=True)
