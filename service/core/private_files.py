"""Files that this user alone can read: what Preceptor keeps is callers' data, and hashes of keys.

The service and the workers share folders, so they run as one user.
"""

import os
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
