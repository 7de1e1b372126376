"""Rows and targets, printed as they come and written as one JSON file."""

import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass
class Report:
    """What has been measured so far."""

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    targets: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def row(self, workload: str, case: str, **numbers: Any) -> None:
        """Add a row and print it."""
        rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in numbers.items()}
        self.rows.append({"workload": workload, "case": case, **rounded})
        shown = "  ".join(f"{key} {value:g}" for key, value in rounded.items())
        print(f"{workload:<8} {case:<40} {shown}", flush=True)

    def target(self, name: str, target: float, measured: float, *, at_most: bool = False) -> None:
        """Add a target; it holds when measured is at least (or at most) the target."""
        holds = measured <= target if at_most else measured >= target
        self.targets.append(
            {"name": name, "target": target, "at_most": at_most, "measured": round(measured, 3), "holds": holds}
        )

    def close(self, path: Path) -> bool:
        """Print the targets, write the file; True when all hold."""
        print()
        for target in self.targets:
            sign = "<=" if target["at_most"] else ">="
            print(
                f"{'holds ' if target['holds'] else 'MISSED'} {target['name']:<68} {sign} {target['target']:<6g} "
                f"measured {target['measured']:g}"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        fast = "FAST=1 " if os.environ.get("FAST", "0") not in ("", "0") else ""
        content = {
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "load_before": self.load,
                "commit": commit.stdout.strip(),
            },
            "versions": {name: version(name) for name in ("fastapi", "uvicorn", "redis", "pydocket")}
            | {"python": platform.python_version()},
            "command": f"{fast}python -m benchmarks.service",
            "rows": self.rows,
            "targets": self.targets,
        }
        path.write_text(json.dumps(content, indent=1) + "\n")
        return all(target["holds"] for target in self.targets)

    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 2))
