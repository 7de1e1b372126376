"""`python -m tests.fuzz --seconds 600`: hostile inputs for every parser; prints a table.

One finding is repeated with `--parser NAME --seed SEED --case NUMBER`, and its input written with `--write FOLDER`.
Inputs that broke an invariant are kept in the folder `corpus`, and `--kept` replays them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from . import corpus
from .campaign import Campaign, Finding, Plan
from .case import Files, case_of
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
    "leaks": "leak",
    "5xx": "5xx",
}
RESULTS: Final = Path("benchmarks/results/fuzz.json")
TARGETS: Final = {"inputs": 100_000, "crashes": 0, "hangs": 0, "leaks": 0}


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
    for name, row in campaign.rows.items():
        if row.stages:
            lines.append(f"\n{name}, the last stage reached: {', '.join(map(_share, row.stages.most_common()))}")
    for found in campaign.findings.values():
        lines.append(f"\n{found.parser}: {found.outcome}, {found.count} times: {found.signature}")
        lines.append(f"    repeat: --parser '{found.parser}' --seed {found.seed} --case {found.cases[0]}")
        lines += [f"    {line}" for line in found.detail.strip().splitlines()[-6:]]
    return "\n".join(lines)


def _share(counted: tuple[str, int]) -> str:
    return f"{counted[0]} {counted[1]:,}"


def report(campaign: Campaign) -> dict[str, Any]:
    """The report as plain values; `resume` reads it."""
    *rows, sums = rows_of(campaign)
    for row in rows:
        kept = campaign.rows[row["parser"]]
        row |= {"slowest": kept.slowest, "largest": kept.largest, "next_case": kept.next_case}
        row["stages"] = dict(kept.stages.most_common())
    found = {
        "inputs": sums["inputs"],
        "crashes": sums["crashes"] + sums["5xx"],
        "hangs": sums["hangs"],
        "leaks": sums["leaks"] + sums["memory"] + sums["left behind"],
    }
    still = [f"{parser}: {name}" for parser, name in sorted(corpus.OPEN)]
    bad = still or any(found[name] for name in ("crashes", "hangs", "leaks"))
    met = found["inputs"] >= TARGETS["inputs"] and not bad
    return {
        "what": "Hostile inputs for every parser: python -m tests.fuzz. A crash is an error that no parser documents, "
        "also an answer of 5xx; a leak is memory beyond the bound of the parser, or a file, a descriptor or memory "
        "that stays. `slowest` is in seconds of processor time, `largest` in bytes of resident memory, of one input",
        "seed": campaign.plan.seed,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
        "targets": TARGETS,
        "found": {**found, "known and open": still, "targets met": met},
        "entries": rows,
        "findings": [asdict(found) for found in campaign.findings.values()],
    }


def resume(campaign: Campaign, stored: dict[str, Any]) -> None:
    """Go on where a report was written.

    Raises
    ------
    ValueError
        It is one of another seed.
    """
    if stored["seed"] != campaign.plan.seed:
        raise ValueError(f"the report is of the seed {stored['seed']}; give --seed {stored['seed']}, or another --out")
    for entry in stored["entries"]:
        row = campaign.rows.get(entry["parser"])
        if row is not None:
            row.outcomes.update({outcome: entry[column] for column, outcome in COLUMNS.items()})
            row.stages.update(entry["stages"])
            row.seconds, row.next_case = entry["seconds"], entry["next_case"]
            row.slowest, row.largest = entry["slowest"], entry["largest"]
    for entry in stored["findings"]:
        found = Finding(**entry)
        campaign.findings[found.parser, found.outcome, found.signature] = found


def write(campaign: Campaign, path: Path, sizes: dict[str, Any] | None = None) -> None:
    """Write the report, in one step; where no comparison of large bodies is given, the one that is there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if sizes is None and path.exists():
        sizes = json.loads(path.read_text()).get("large bodies")
    fresh = path.with_name(f"{path.name}.new")
    whole = report(campaign) | ({} if sizes is None else {"large bodies": sizes})
    fresh.write_text(json.dumps(whole, indent=2) + "\n")
    fresh.rename(path)


def input_of(name: str, seed: int, number: int) -> Files:
    """The files of one input."""
    parser = parser_named(name)
    with tempfile.TemporaryDirectory() as work:
        return case_of(parser, stored_seeds(parser, Path(work) / "seeds"), seed, number)


class Keeper:
    """After each batch: what was found goes into the corpus, and the report is written."""

    def __init__(self, campaign: Campaign, out: Path | None) -> None:
        self._campaign = campaign
        self._out = out
        self._known: set[tuple[str, str, str]] = set(campaign.findings)

    def __call__(self) -> None:
        """Do so."""
        for key in list(self._campaign.findings):
            found = self._campaign.findings[key]
            if key not in self._known and found.outcome != "leak":  # that comes of many inputs together
                corpus.keep(found.parser, found.outcome, input_of(found.parser, found.seed, found.cases[0]))
            self._known.add(key)
        if self._out is not None:
            write(self._campaign, self._out)


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
    reader.add_argument("--kept", action="store_true", help="replay the corpus, and nothing else")
    reader.add_argument("--batch-seconds", type=float, default=20.0, help="for each parser, before the next one's turn")
    reader.add_argument("--processes", type=int, default=1)
    reader.add_argument("--out", type=Path, help=f"write the report here after every batch; for all parsers, {RESULTS}")
    reader.add_argument("--sizes", action="store_true", help="compare large bodies, too, for --out")
    reader.add_argument("--resume", action="store_true", help="go on where the report of --out ends")
    arguments = reader.parse_args()
    names = arguments.parser or list(ENTRIES)
    whole = not (arguments.parser or arguments.kept or arguments.case is not None)
    out: Path | None = arguments.out or (RESULTS if whole else None)
    one = arguments.case is not None
    if arguments.case is not None and arguments.write is not None:
        arguments.write.mkdir(parents=True, exist_ok=True)
        for name in names:
            for file, content in input_of(name, arguments.seed, arguments.case).items():
                (arguments.write / file).write_bytes(content)
    plan = Plan(
        seconds=arguments.seconds,
        seed=arguments.seed,
        parsers=names,
        first=arguments.first if arguments.case is None else arguments.case,
        most=1 if one else arguments.cases,
        processes=arguments.processes,
        batch_seconds=arguments.batch_seconds,
        kept=arguments.kept,
    )
    campaign = Campaign(plan)
    if arguments.resume and out is not None and out.exists():
        resume(campaign, json.loads(out.read_text()))
    keeper = Keeper(campaign, out)
    if not arguments.kept and not one:
        campaign.after_batch = keeper
    began = time.monotonic()
    campaign.run()
    print(table(campaign))
    print(f"\n{time.monotonic() - began:.0f} seconds, seed {arguments.seed}")
    if out is not None:
        write(campaign, out, _sizes() if arguments.sizes else None)
    return 0 if campaign.holds else 1


def _sizes() -> dict[str, Any]:
    """The comparison of large bodies, measured in a process that has done nothing else."""
    command = [sys.executable, "-m", "tests.fuzz.sizes", "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
