"""Files that this user alone can read: what Preceptor keeps is callers' data, and hashes of keys.

The service and the workers share folders, so they run as one user.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

UMASK: Final = 0o077
"""What a process of Preceptor takes away from the modes of all that it makes."""


def close_to_others() -> None:
    """From now on this process makes files and folders that its user alone can open."""
    os.umask(UMASK)


def private_folder(folder: Path) -> Path:
    """Make a folder and its parents, each with mode 0700, where they are missing. Those that exist stay as they are."""
    if not folder.is_dir():
        if folder.parent != folder:
            private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


class FolderUnusable(Exception):
    """A folder cannot be made or written to; the message names it and the reason."""


def make_usable(folder: Path) -> None:
    """Make a private folder where it is missing, and see that this process can write to it.

    Raises
    ------
    FolderUnusable
        It cannot.
    """
    folder = folder.absolute()
    try:
        private_folder(folder)
    except OSError as error:
        raise FolderUnusable(f"the folder {folder} cannot be made: {error.strerror or error}") from error
    except ValueError as error:  # A null byte.
        raise FolderUnusable(f"{str(folder)!r} is not the name of a folder: {error}") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise FolderUnusable(f"this process cannot write to the folder {folder}")


_LOCK: Final = ".lock"


class ProcessFolder:
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
