"""`preceptor predictions`"""

from pathlib import Path
from typing import Annotated

import typer

from ..core.routes.teachers import Values
from .references import probe_file, probe_id, teacher_id
from .session import Session, command, new_group
from .tables import size

group = new_group("Predictions of black-box teachers (source kind `predictions`) over probes.")


@command(group, "upload")
def upload(
    session: Session,
    teacher: Annotated[str, typer.Argument(metavar="TEACHER", help="Id or exact name.")],
    probe: Annotated[str, typer.Argument(metavar="FILE_OR_ID", help="The probe that was predicted.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An .npz with the array `predictions`, one row an item.")
    ],
    values: Annotated[
        Values, typer.Option(metavar="KIND", help="What the numbers are: probabilities (default) or logits.")
    ] = "probabilities",
) -> None:
    """Upload what a black-box teacher predicts over a probe."""
    id, source = teacher_id(session, teacher), probe_file(file)
    with session.transfers("uploading") as progress:
        stored = session.client.teachers.upload_predictions(
            id, str(probe_id(session, probe)), source, values=values, on_transfer=progress
        )
    if session.as_json:
        session.emit(stored)
    else:
        session.out.print(f"Stored {stored.name}, {size(stored.size)}")
