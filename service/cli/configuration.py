"""What every command reads first: the settings and the data folder. A mistake there is one message, not a trace."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from service.core.settings import Misconfigured, Settings, read_settings

MISCONFIGURED: Final = 78
"""Exit status: EX_CONFIG of sysexits.h."""

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder for the local store, the embedded Redis and caches (PRECEPTOR_DATA; default .preceptor).",
        show_default=False,
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option("--host", help="Address to listen on (PRECEPTOR_HOST; default 127.0.0.1).", show_default=False),
]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port", min=0, max=65535, help="Port; 0 takes a free one (PRECEPTOR_PORT; default 8321).", show_default=False
    ),
]


def settings_from(**given: Any) -> Settings:
    """The settings of this process: its environment, and the options that were given.

    Options go to the environment, so that processes that this one starts read the same. Ends the process with
    `MISCONFIGURED` if a setting or the data folder cannot be used.
    """
    for name, value in given.items():
        if value is not None:
            os.environ[f"PRECEPTOR_{name.upper()}"] = str(value)
    try:
        return read_settings()
    except Misconfigured as error:
        print(error, file=sys.stderr)
        sys.exit(MISCONFIGURED)
