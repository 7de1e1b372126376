"""`python -m tests.upgrade --from COMMIT`: replaces a running deployment of older code by newer code."""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .campaign import Campaign, Report
from .deployment import Deployment
from .trees import ROOT, WrongTree, exported


def table(report: Report) -> str:
    """The report as text."""
    lines = ["| submitted to | jobs |", "|---|---|"]
    lines += [f"| {when} | {count} |" for when, count in Counter(report.jobs.values()).items()]
    lines += ["", "| worker | jobs done |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in report.done_by.items() if "service" not in name]
    if report.resumed_at is None:
        lines.append("\nThe long distillation told of no epoch after the upgrade.")
    else:
        first, last = report.resumed_at
        lines.append(f"\nThe long distillation was at epoch {last}; the new worker went on with epoch {first}.")
    lines += ["", *(f"WRONG: {text}" for text in report.wrong)]
    return "\n".join(lines)


def main() -> int:
    """Exit status 0 where every job ended once and can be read; 2 where the old code cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument("--from", dest="reference", required=True, help="commit, tag or branch of the old code")
    parser.add_argument("--to", help="commit, tag or branch of the new code; the working tree where absent")
    parser.add_argument("--epochs", type=int, default=3000, help="of the distillation that is under way")
    parser.add_argument("--keep", action="store_true", help="keep the logs and the store, and say where")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="preceptor-upgrade-"))
    started = time.monotonic()
    try:
        old = exported(arguments.reference, folder / "old")
        new = exported(arguments.to, folder / "new") if arguments.to else ROOT
        with Deployment(folder / "deployment") as deployment:
            report = Campaign(deployment, old, new, arguments.epochs).run()
    except WrongTree as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        if arguments.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(table(report))
    print(f"{len(report.jobs)} jobs, {time.monotonic() - started:.0f} s, {len(report.wrong)} things wrong")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
