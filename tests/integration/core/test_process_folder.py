"""Temporary files go with the process that made them, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from service.core.private_files import ProcessFolder

_KILLED = """
import sys
from pathlib import Path
from service.core.private_files import ProcessFolder
place = ProcessFolder(Path(sys.argv[1]))
(place.folder / "weights").write_bytes(b"x")
print("made", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_its_files_to_the_next_one(tmp_path: Path) -> None:
    mine = ProcessFolder(tmp_path)
    (mine.folder / "mine").write_bytes(b"x")
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"made\n"
        third = ProcessFolder(tmp_path)
        assert len(list(tmp_path.iterdir())) == 3, "living processes keep their folders"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    fourth = ProcessFolder(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(place.folder for place in (mine, third, fourth))
    assert (mine.folder / "mine").exists()
    for place in (mine, third, fourth):
        place.close()
    assert list(tmp_path.iterdir()) == []
