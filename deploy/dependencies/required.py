"""Direct and indirect requirements of our distributions, as installed."""

import tomllib
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS: Final = frozenset({"preceptor", "preceptor-server"})
"""Our own distributions: not pinned, and under the licence of the repository."""

RUNTIME: Final = ("worker", "oidc", "demo")
"""Extras that a deployment may install, without those for development."""

PROJECTS: Final = ("pyproject.toml", "clients/python/pyproject.toml")


def direct(root: Path, extras: Iterable[str]) -> list[Requirement]:
    """Direct requirements of our projects, with these extras of the first one.

    Raises
    ------
    KeyError
        An extra does not exist.
    """
    found: list[str] = []
    for place in PROJECTS:
        project = tomllib.loads((root / place).read_text(encoding="utf-8"))["project"]
        found += project["dependencies"]
        if place == PROJECTS[0]:
            for extra in extras:
                found += project["optional-dependencies"][extra]
    requirements = [Requirement(line) for line in found]
    return [one for one in requirements if canonicalize_name(one.name) not in OURS]


def closure(
    requirements: Iterable[Requirement], installed: Callable[[str], Distribution] = distribution
) -> dict[str, Distribution]:
    """All distributions required directly or indirectly on this machine, by name.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        A required distribution is not installed.
    """
    found: dict[str, Distribution] = {}
    wanted: dict[str, set[str]] = {}
    waiting = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in found and one.extras <= wanted[name]:
            continue
        extras = wanted.setdefault(name, {""})
        extras |= one.extras
        found[name] = installed(one.name)
        for line in found[name].requires or []:
            further = Requirement(line)
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(further)
    return found
