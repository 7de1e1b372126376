"""Rows and targets of a benchmark run, printed as one table and written as one JSON file."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from worker.transport import _fused


@dataclass(slots=True)
class Report:
    """Results of a run.

    Attributes
    ----------
    module
        The module that was run.
    packages
        Packages whose versions are recorded.
    load
        Load average of the machine when the run began.
    """

    module: str
    packages: Sequence[str] = ("torch", "numpy", "POT")
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    targets: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def row(self, workload: str, case: str, method: str = "", **numbers: Any) -> None:
        """Add a row and print it."""
        self.rows.append({"workload": workload, "case": case, "method": method, **numbers})
        shown = "  ".join(f"{key} {_short(value)}" for key, value in numbers.items())
        print(f"{workload:<4} {case:<34} {method:<28} {shown}", flush=True)

    def target(self, name: str, target: float, measured: float, *, at_most: bool = False) -> None:
        """Add a target; it holds if the measured value is at least (or at most) the target."""
        holds = measured <= target if at_most else measured >= target
        self.targets.append(
            {"name": name, "target": target, "at_most": at_most, "measured": measured, "holds": bool(holds)}
        )

    def close(self, path: Path) -> bool:
        """Print the targets and write the file; True if all hold."""
        print()
        for target in self.targets:
            sign = "<=" if target["at_most"] else ">="
            print(
                f"{'holds ' if target['holds'] else 'MISSED'} {target['name']:<64} {sign} {target['target']:<8g} "
                f"measured {target['measured']:.3g}"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": _machine(self.load),
            "versions": {name: version(name) for name in self.packages} | {"python": platform.python_version()},
            "command": " ".join(
                [f"{name}={os.environ[name]}" for name in ("FAST", "STRICT") if name in os.environ]
                + [f"python -m {self.module}"]
            ),
            "rows": self.rows,
            "targets": self.targets,
        }
        path.write_text(json.dumps(content, indent=1) + "\n")
        return all(target["holds"] for target in self.targets)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class _Machine:
    processor: str
    cores: int
    load: float
    fused_level: int
    accelerator: str
    commit: str


def _machine(load: float) -> dict[str, Any]:
    names = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return asdict(
        _Machine(
            processor=names[0] if names else platform.processor(),
            cores=os.cpu_count() or 1,
            load=round(load, 2),
            fused_level=_fused.level(),
            accelerator=torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
            commit=commit.stdout.strip(),
        )
    )


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if sys.platform == "linux" and path.exists() else []
