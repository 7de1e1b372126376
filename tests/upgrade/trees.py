"""Code of another version: a tree of this repository that is not the one we stand in."""

import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_PACKAGES: Final = ("service", "worker", "clients/python/preceptor")
_CHECK: Final = "import preceptor, service, worker; print(preceptor.__file__, service.__file__, worker.__file__)"


class WrongTree(Exception):
    """The tree cannot be run as asked; the message says why."""


def exported(reference: str, folder: Path) -> Path:
    """The tree of a commit.

    Raises
    ------
    WrongTree
        There is no such commit here.
    """
    found = subprocess.run(
        ["git", "archive", "--format=tar", f"{reference}^{{commit}}"], cwd=ROOT, capture_output=True, check=False
    )
    if found.returncode:
        raise WrongTree(f"git archive {reference}: {found.stderr.decode().strip()}")
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return checked(folder)


def older(folder: Path) -> Path:
    """A copy of our tree whose contract is one version older: it has never heard of `priority`."""
    for package in _PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    contract = folder / "clients/python/preceptor/contract"
    _replace(contract / "versions.py", r"^CONTRACT: Final = 2$", "CONTRACT: Final = 1")
    for name in ("recommendations.py", "distillations.py"):
        _replace(contract / name, r"^    priority: Annotated\[Priority, Since\(2\)\] = .*\n", "")
    return checked(folder)


def environment_of(tree: Path) -> dict[str, str]:
    """What makes Python run the code of a tree, though another is installed."""
    return {"PYTHONPATH": f"{tree}:{tree / 'clients/python'}", "PYTHONDONTWRITEBYTECODE": "1"}


def checked(tree: Path) -> Path:
    """The tree, once it is certain that its own code is what runs there.

    Raises
    ------
    WrongTree
    """
    found = subprocess.run(
        [sys.executable, "-c", _CHECK], cwd=tree, env=environment_of(tree), capture_output=True, text=True, check=False
    )
    if found.returncode or any(not path.startswith(f"{tree}/") for path in found.stdout.split()):
        raise WrongTree(f"{tree} does not run its own code: {found.stdout}{found.stderr}")
    return tree


def _replace(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text(), flags=re.MULTILINE)
    if count != 1:
        raise WrongTree(f"{path.name}: {pattern!r} stands there {count} times, not once")
    path.write_text(text)
