"""Where the embedded server's socket lies, where the data folder's path is too long for one.

A folder below `/tmp` can be made by anyone before us. Who owns it could put a server of their own there, and what
workers read from their Redis they run: such a folder is refused.
"""

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from service.core.errors import StateUnavailable

_LONGEST: Final = 100
"""Bytes; a unix socket's path is limited to 107."""

_NAME: Final = "redis.sock"


def socket_of(folder: Path) -> Path:
    """Path of the socket for a server whose files lie in a folder.

    In the folder where that is short enough; else in a folder of its own, below `XDG_RUNTIME_DIR` where that is ours,
    or else below the folder for temporary files. Nothing is made.
    """
    socket = folder / _NAME
    if _fits(socket):
        return socket
    name = f"preceptor-{os.geteuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and reason_against(runtime) is None and _fits(runtime / name / _NAME):
        return runtime / name / _NAME
    return Path(tempfile.gettempdir()) / name / _NAME


def make_socket_folder(folder: Path) -> None:
    """Make the socket's own folder, or see that the one there is fit to be trusted.

    Raises
    ------
    StateUnavailable
        It is not.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        reason = reason_against(folder)
    except OSError as error:
        reason = str(error)
    if reason is not None:
        raise StateUnavailable(
            f"The embedded Redis needs {folder} for its socket, and cannot trust it: {reason}. Remove it, or set "
            "XDG_RUNTIME_DIR to a folder that only you can open, or PRECEPTOR_DATA to a shorter path"
        )


def reason_against(folder: Path) -> str | None:
    """Why a folder is not for our own user alone; None where it is."""
    try:
        found = folder.lstat()
    except OSError as error:
        return str(error)
    if not stat.S_ISDIR(found.st_mode):
        return "it is a link or a file"
    if found.st_uid != os.geteuid():
        return f"it belongs to user {found.st_uid}"
    mode = stat.S_IMODE(found.st_mode)
    return None if mode == 0o700 else f"its mode is {mode:04o}, not 0700"


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= _LONGEST
