"""A folder for a process's temporary files, which go when it ends, however it ends.

The process holds a lock on its folder. The kernel takes the lock from a process that was killed, and the next one to
open a folder beside it removes what was left.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from service.core.private_files import private_folder

_LOCK: Final = ".lock"


class Workplace:
    """One process's folder under a parent that many share.

    Parameters
    ----------
    parent
        Made where missing, for this user alone.
    """

    def __init__(self, parent: Path) -> None:
        private_folder(parent)
        remove_abandoned(parent)
        # Under a name that no one looks at until the lock is held.
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
        # Not open for writing: that would keep the file system from being made read-only.
        self._lock = os.open(made / _LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.folder = made.rename(parent / f"process-{made.name.removeprefix('.new-')}")

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of processes that have ended without doing so."""
    for folder in parent.glob("process-*"):
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # Another process is removing it.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
