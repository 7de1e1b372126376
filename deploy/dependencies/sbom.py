"""The bill of materials: installed distributions as CycloneDX, valid against its schema and complete."""

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

_SPECIFICATION: Final = "1.6"


def write(target: Path, pyproject: Path) -> None:
    """Write the bill of this environment. The output is reproducible.

    Raises
    ------
    subprocess.CalledProcessError
        It could not be created, or is not valid against the schema.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(pyproject), "--spec-version",
        _SPECIFICATION, "--output-format", "JSON", "--output-reproducible", "--validate", "--output-file", str(target),
        sys.executable,
    ]  # fmt: skip
    subprocess.run(command, check=True)


def findings(target: Path, installed: Iterable[Distribution]) -> list[str]:
    """Distributions installed but missing in the bill, and vice versa. The schema also accepts an empty bill."""
    bill = json.loads(target.read_text(encoding="utf-8"))
    listed = {(canonicalize_name(entry["name"]), entry["version"]) for entry in _components(bill)}
    there = {(canonicalize_name(one.metadata["Name"]), one.version) for one in installed}
    missing = [f"{name} {version} is installed and not in the bill" for name, version in sorted(there - listed)]
    return missing + [f"{name} {version} is in the bill and not installed" for name, version in sorted(listed - there)]


def _components(bill: dict[str, object]) -> list[dict[str, str]]:
    components, metadata = bill.get("components"), bill.get("metadata")
    main = metadata.get("component") if isinstance(metadata, dict) else None
    return [*(components if isinstance(components, list) else []), *([main] if isinstance(main, dict) else [])]
