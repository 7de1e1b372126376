"""`python -m deploy.dependencies audit`, `python -m deploy.dependencies sbom [FILE]`, from the repository's root."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

from . import advisories, licences, pins, sbom
from .required import RUNTIME, closure, direct

ROOT = Path(__file__).parents[2]
_BILL = Path("build/sbom.cdx.json")


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 without findings."""
    parser = argparse.ArgumentParser(prog="python -m deploy.dependencies", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "audit", help="pins, licences, known vulnerabilities; STRICT=1 fails if the advisory service is not available"
    )
    bill = commands.add_parser("sbom", help="write the bill of materials and check it")
    bill.add_argument("file", nargs="?", type=Path, default=_BILL)
    given = parser.parse_args(arguments)
    if given.command == "sbom":
        return _bill(given.file)
    return audit(strict=os.environ.get("STRICT", "") not in ("", "0"))


def audit(*, strict: bool, ask: advisories.Ask = advisories.ask) -> int:
    """Run all checks; a finding does not prevent the later ones."""
    failed = [
        _checked("requirements fit together", _fitting),
        _checked("all is pinned", _pinned),
        _checked("licences", lambda: licences.findings(closure(direct(ROOT, RUNTIME)))),
    ]
    found, why = advisories.audit(pins.read(ROOT / "constraints.txt"), ask)
    if why is not None:
        print(f"NOT AUDITED: no release was compared with known vulnerabilities, because {why}", flush=True)
        if not strict:
            print("  Passed: the advisory service is not available here. STRICT=1 makes this a failure")
        return int(any(failed) or strict)
    return int(any([*failed, _checked("no known vulnerabilities", lambda: found)]))


def _checked(name: str, check: Callable[[], list[str]]) -> bool:
    """Whether a check has findings, which are printed."""
    began = time.perf_counter()
    found = check()
    print(f"{'FAILED' if found else 'ok    '} {name} ({time.perf_counter() - began:.1f} s)")
    for line in found:
        print(f"  {line}")
    sys.stdout.flush()
    return bool(found)


def _fitting() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [] if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines() or ["pip check failed"]


def _pinned() -> list[str]:
    required = closure(direct(ROOT, (*RUNTIME, "dev")))
    return pins.findings(pins.read(ROOT / "constraints.txt"), distributions(), required)


def _bill(file: Path) -> int:
    sbom.write(file, ROOT / "pyproject.toml")
    failed = _checked("the bill is complete", lambda: sbom.findings(file, distributions()))
    print(f"wrote {file}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
