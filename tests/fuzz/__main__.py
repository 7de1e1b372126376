"""`python -m tests.fuzz --seconds 600`: hostile inputs for every parser; prints a table.

One finding is repeated with `--parser NAME --seed SEED --case NUMBER`, and its input written with `--write FOLDER`.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from .campaign import Campaign, Plan
from .case import case_of
from .child import stored_seeds
from .parsers import ENTRIES, parser_named

COLUMNS: Final = {
    "accepted": "accepted",
    "refused": "refused",
    "contained": "contained",
    "crashes": "crash",
    "hangs": "hang",
    "memory": "memory",
    "left behind": "left",
    "5xx": "5xx",
}


def rows_of(campaign: Campaign) -> list[dict[str, Any]]:
    """The counts, one row a parser, and their sum."""
    rows: list[dict[str, Any]] = []
    for name, row in campaign.rows.items():
        counts = {column: row.outcomes[outcome] for column, outcome in COLUMNS.items()}
        rows.append({"parser": name, "inputs": row.inputs, **counts, "seconds": round(row.seconds)})
    sums = {key: sum(row[key] for row in rows) for key in ("inputs", *COLUMNS, "seconds")}
    return [*rows, {"parser": "all", **sums}]


def table(campaign: Campaign) -> str:
    """The report as text."""
    rows = rows_of(campaign)
    lines = [f"| {' | '.join(rows[0])} |", "|" + "---|" * len(rows[0])]
    lines += [
        f"| {' | '.join(f'{value:,}' if isinstance(value, int) else value for value in row.values())} |" for row in rows
    ]
    for found in campaign.findings.values():
        lines.append(f"\n{found.parser}: {found.outcome}, {found.count} times: {found.signature}")
        lines.append(f"    repeat: --parser '{found.parser}' --seed {found.seed} --case {found.cases[0]}")
        lines += [f"    {line}" for line in found.detail.strip().splitlines()[-6:]]
    return "\n".join(lines)


def report(campaign: Campaign) -> dict[str, Any]:
    """The report as plain values."""
    slowest = {name: {"slowest": row.slowest, "largest": row.largest} for name, row in campaign.rows.items()}
    return {
        "seed": campaign.plan.seed,
        "table": rows_of(campaign),
        "most": slowest,
        "findings": [asdict(found) for found in campaign.findings.values()],
    }


def write_input(name: str, seed: int, number: int, folder: Path) -> None:
    """Write the files of one input."""
    parser = parser_named(name)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        seeds = stored_seeds(parser, Path(work) / "seeds")
    for file, content in case_of(parser, seeds, seed, number).items():
        (folder / file).write_bytes(content)


def main() -> int:
    """Exit status 0 where every invariant holds."""
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    reader.add_argument("--seconds", type=float, default=600.0, help="for all parsers together")
    reader.add_argument("--seed", type=int, default=1)
    reader.add_argument("--parser", action="append", choices=list(ENTRIES), help="only this one; may be repeated")
    reader.add_argument("--first", type=int, default=0, help="number of the first case")
    reader.add_argument("--cases", type=int, default=10**9, help="most cases of each parser")
    reader.add_argument("--case", type=int, help="only the case of this number")
    reader.add_argument("--write", type=Path, help="write the input of --case into this folder")
    reader.add_argument("--processes", type=int, default=1)
    reader.add_argument("--out", type=Path, help="write the report here, as JSON")
    arguments = reader.parse_args()
    names = arguments.parser or list(ENTRIES)
    if arguments.case is not None and arguments.write is not None:
        for name in names:
            write_input(name, arguments.seed, arguments.case, arguments.write)
    one = arguments.case is not None
    plan = Plan(
        seconds=arguments.seconds,
        seed=arguments.seed,
        parsers=names,
        first=arguments.case if one else arguments.first,
        most=1 if one else arguments.cases,
        processes=arguments.processes,
    )
    campaign = Campaign(plan)
    began = time.monotonic()
    campaign.run()
    print(table(campaign))
    print(f"\n{time.monotonic() - began:.0f} seconds, seed {arguments.seed}")
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(report(campaign), indent=2) + "\n")
    return 0 if campaign.holds else 1


if __name__ == "__main__":
    sys.exit(main())
