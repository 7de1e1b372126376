"""`python -m tests.differential`: teachers against transformers itself; prints one table, exits 1 if a row differs.

`--short` takes the seconds that continuous integration has.
"""

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, Final

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

_SIDES: Final = ("texts", "pictures")


def rows_of(side: str, short: bool) -> list[dict[str, Any]]:
    """The rows of `tests.differential.<side>`; none if this side is not part of the checkout."""
    name = f"{__package__}.{side}"
    if importlib.util.find_spec(name) is None:
        print(f"{side}: not here", file=sys.stderr)
        return []
    return [_as_dict(row) for row in importlib.import_module(name).run(short)]


def _as_dict(row: Any) -> dict[str, Any]:
    if isinstance(row, Mapping):
        return dict(row)
    if is_dataclass(row) and not isinstance(row, type):
        return asdict(row)
    raise TypeError(f"a row must be a mapping or a dataclass, not {type(row).__name__}")


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as lines under their names, each column as wide as its longest entry."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([_shown(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join("  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)) for line in lines)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.1e}" if isinstance(value, float) else str(value)


def main() -> int:
    """Run, print, and say by the exit status whether all rows hold."""
    options = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    options.add_argument("--short", action="store_true", help="fewer items and settings")
    options.add_argument("--side", choices=_SIDES, help="one side only")
    chosen = options.parse_args()
    rows = [row for side in _SIDES if chosen.side in (None, side) for row in rows_of(side, chosen.short)]
    print(table(rows))
    differing = sum(not row["holds"] for row in rows)
    print(f"{len(rows)} comparisons, {differing} differ")
    return 1 if differing or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
