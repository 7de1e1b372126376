"""Checks that every installed distribution is pinned in constraints.txt, with the installed version."""

from collections.abc import Container, Iterable
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name
from packaging.version import Version

from .required import OURS

INSTALLERS: Final = frozenset({"pip", "setuptools", "wheel"})
"""Part of the environment before our distributions are installed."""


def read(constraints: Path) -> dict[str, Version]:
    """Read the pins, by name.

    Raises
    ------
    ValueError
        A line is not a pin, or a name has two pins.
    """
    pins: dict[str, Version] = {}
    for number, line in enumerate(constraints.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name, mark, version = text.partition("==")
        if not mark or "*" in version:
            raise ValueError(f"{constraints.name}:{number}: {text!r} is not a pin; write name==version")
        key = canonicalize_name(name.strip())
        if key in pins:
            raise ValueError(f"{constraints.name}:{number}: {key} has two pins")
        pins[key] = Version(version.strip())
    return pins


def findings(pins: dict[str, Version], installed: Iterable[Distribution], required: Container[str]) -> list[str]:
    """Distributions that are not pinned, or not installed as pinned.

    Parameters
    ----------
    required
        Names that our requirements include, directly or indirectly.
    """
    found: list[str] = []
    for one in installed:
        name = canonicalize_name(one.metadata["Name"])
        if name in OURS or name in INSTALLERS:
            continue
        version = Version(one.version)
        if name not in pins:
            why = (
                "add it to constraints.txt"
                if name in required
                else "nothing of ours requires it: uninstall it, or add it to pyproject.toml and constraints.txt"
            )
            found.append(f"{name} {version} is installed and not pinned; {why}")
        # A local version (2.13.0+cpu) is a build of the pinned version.
        elif version != pins[name] and Version(version.public) != pins[name]:
            found.append(f"{name} {version} is installed; constraints.txt pins {pins[name]}")
    return sorted(found)
