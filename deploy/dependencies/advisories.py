"""Known vulnerabilities of pinned releases, by pip-audit. Reports clearly if nothing could be audited.

pip-audit counts packages that its service does not know as skipped, and then reports "no known vulnerabilities". A
mirror without advisories, or one that answers 404 to everything, would therefore look clean. So the service is first
queried for a release with a known vulnerability. Only if that is found are the results for other releases meaningful.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.version import Version

KNOWN: Final = {"jinja2": Version("2.10")}
"""A release with vulnerabilities that have been public since 2019 (CVE-2019-10906)."""

_SECONDS: Final = 120
_SOCKET_SECONDS: Final = 5


@dataclass(frozen=True)
class Report:
    """A report of pip-audit.

    Attributes
    ----------
    findings
        A line for each vulnerability.
    skipped
        A line for each release without data.
    failure
        Why there is no report.
    """

    findings: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failure: str | None = None


Ask = Callable[[Mapping[str, Version]], Report]


def ask(pins: Mapping[str, Version]) -> Report:
    """Query the advisory service for releases. Nothing is installed or resolved."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "pinned.txt"
        listed.write_text("".join(f"{name}=={version.public}\n" for name, version in pins.items()), encoding="utf-8")
        command = [
            sys.executable, "-m", "pip_audit", "--requirement", str(listed), "--no-deps", "--disable-pip",
            "--format", "json", "--progress-spinner", "off", "--timeout", str(_SOCKET_SECONDS),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return Report(failure=f"pip-audit did not end within {_SECONDS} s")
    return read(done.stdout, done.stderr)


def read(output: str, errors: str = "") -> Report:
    """Read pip-audit's report."""
    try:
        entries = json.loads(output)["dependencies"]
        findings = tuple(
            f"{entry['name']} {entry['version']}: {vulnerability['id']}"
            + (f" ({', '.join(vulnerability['aliases'])})" if vulnerability.get("aliases") else "")
            + (
                f", fixed in {', '.join(vulnerability['fix_versions'])}"
                if vulnerability.get("fix_versions")
                else ", not fixed yet"
            )
            for entry in entries
            for vulnerability in entry.get("vulns", ())
        )
        skipped = tuple(entry["skip_reason"] for entry in entries if "skip_reason" in entry)
    except (ValueError, KeyError, TypeError):
        last = [line for line in errors.splitlines() if line.strip()][-1:] or ["pip-audit gave no report"]
        return Report(failure=last[0].strip()[:300])
    return Report(findings, skipped)


def audit(pins: Mapping[str, Version], ask: Ask = ask) -> tuple[list[str], str | None]:
    """Findings about the pinned releases, and the reason if nothing was audited."""
    probe = ask(KNOWN)
    if not probe.findings:
        name, version = next(iter(KNOWN.items()))
        why = probe.failure or "; ".join(probe.skipped) or "it reports none"
        return [], f"the advisory service does not report the known vulnerabilities of {name} {version}: {why}"
    report = ask(pins)
    if report.failure is not None:
        return [], report.failure
    return [*report.findings, *(f"not audited: {line}" for line in report.skipped)], None
