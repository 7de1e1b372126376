"""`python -m tests.chaos --minutes 30`: the long campaign; prints a table and writes a JSON report."""

import argparse
import json
import sys
from pathlib import Path

from .campaign import Plan, Report, run


def long_plan(minutes: float, seed: int) -> Plan:
    """Two workers a lane, a fault every three seconds."""
    return Plan(
        seconds=minutes * 60,
        between=3.0,
        pause=0.6,
        workers=(2, 2),
        callers=3,
        killers=max(1, round(minutes / 5)),
        delivery_limit=8,
        settle_seconds=600,
        seed=seed,
    )


def table(report: Report) -> str:
    """The report as text."""
    lines = ["| fault | times |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in report.faults.most_common()]
    lines += [f"| {name} (not possible here) | {count} |" for name, count in report.not_possible.items()]
    lines += ["", "| jobs | count |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in sorted(report.jobs.items())]
    lines += ["", "| invariant | holds |", "|---|---|"]
    for name, wrong in report.found.items():
        lines.append(f"| {name} | {'yes' if not wrong else f'NO: {len(wrong)} violations'} |")
        lines += [f"    {text}" for text in wrong[:10]]
    lines.append(
        f"\n{sum(report.jobs.values())} jobs, {report.kills} kills, {sum(report.faults.values())} faults, "
        f"{report.repeats} requests repeated, {report.starts} processes started, seconds {report.seconds}"
    )
    return "\n".join(lines)


def main() -> int:
    """Exit status 0 where every invariant holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--keep", type=Path, help="copy the logs here where an invariant does not hold")
    arguments = parser.parse_args()
    report = run(long_plan(arguments.minutes, arguments.seed), arguments.keep)
    print(table(report))
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report.to_json(), indent=2) + "\n")
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
