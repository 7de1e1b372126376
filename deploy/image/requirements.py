"""Prints the requirements of our distributions, for an image layer that is independent of changes in our code."""

import argparse
import sys
import tomllib
from pathlib import Path


def requirements(project: dict[str, object], extra: str | None, own: set[str]) -> list[str]:
    """The requirements of one project.

    Parameters
    ----------
    project
        The `[project]` table of a pyproject.toml.
        Return this optional group instead of the dependencies.
    own
        Names of our own distributions, which are installed later, from wheels.

    Raises
    ------
    KeyError
        The optional group does not exist.
    """
    groups = project if extra is None else project["optional-dependencies"]
    assert isinstance(groups, dict)
    wanted = groups["dependencies" if extra is None else extra]
    assert isinstance(wanted, list)
    return [line for line in map(str, wanted) if line not in own]


def main() -> int:
    """Print one requirement a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", help="optional group to print instead of the dependencies")
    parser.add_argument("files", nargs="+", type=Path, help="pyproject.toml files")
    arguments = parser.parse_args()
    projects = [tomllib.loads(path.read_text())["project"] for path in arguments.files]
    own = {"preceptor", *(project["name"] for project in projects)}
    for project in projects:
        for line in requirements(project, arguments.extra, own):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
