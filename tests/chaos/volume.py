"""A disk for the store that can be made read-only or full: a small file system in memory, where we may mount one."""

import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_SIZE: Final = "256m"
_BALLAST: Final = "ballast"


class Volume:
    """A folder; with `mounted`, a file system of its own.

    Parameters
    ----------
    folder
        Made where missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.mounted = (
            shutil.which("mount") is not None
            and _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "chaos", str(folder)) == 0
        )
        (folder / "store").mkdir(exist_ok=True)

    def read_only(self) -> bool:
        """Refuse all writes from now on. False where that could not be had."""
        deadline = time.monotonic() + 3
        while self.mounted and time.monotonic() < deadline:  # Refused while a file is open for writing.
            if _run("mount", "-o", "remount,ro", str(self.folder)) == 0:
                return True
            time.sleep(0.01)
        return False

    def writable(self) -> None:
        """Take writes again."""
        if self.mounted:
            _run("mount", "-o", "remount,rw", str(self.folder))

    def fill(self) -> bool:
        """Leave no room. False where the folder is no file system of its own."""
        if not self.mounted:
            return False
        with suppress(OSError), (self.folder / _BALLAST).open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**20))
        with suppress(OSError), (self.folder / _BALLAST).open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        return True

    def empty(self) -> None:
        """Give the room back."""
        (self.folder / _BALLAST).unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount."""
        if self.mounted:
            self.writable()
            _run("umount", "-l", str(self.folder))


def _run(*command: str) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode
