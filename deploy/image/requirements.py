"""Prints what our distributions depend on, for an image layer that outlives changes of our own code."""

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
    extra
        Take this optional group instead of the dependencies.
    own
        Names of our own distributions; they are installed later, from wheels.

    Raises
    ------
    KeyError
        There is no such optional group.
    """
    groups = project if extra is None else project["optional-dependencies"]
    assert isinstance(groups, dict)
    wanted = groups["dependencies" if extra is None else extra]
    assert isinstance(wanted, list)
    return [line for line in map(str, wanted) if line not in own]


def main() -> int:
    """Print one requirement a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", help="an optional group instead of the dependencies")
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
