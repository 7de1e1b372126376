"""The tables of docs/transport.md, generated from the committed results: ``python -m benchmarks.transport.tables``."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "transport.json"
PAGE = ROOT / "docs" / "transport.md"
_BEGIN, _END = "<!-- tables of benchmarks/results/transport.json -->", "<!-- end of tables -->"
_EASY = " eps .05 tol 1e-3"

Rows = list[dict[str, Any]]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(head: list[str], lines: list[list[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *lines)]


def _by_case(rows: Rows, cases: list[str], unit: str, shorten: str = "") -> list[str]:
    """Methods as rows, cases as columns: time, ratio to ours, and final error."""
    methods = list(dict.fromkeys(row["method"] for row in rows if unit in row))
    lines = []
    for method in methods:
        line = [method]
        for case in cases:
            found = [row for row in rows if row["case"] == case and row["method"] == method and unit in row]
            if not found:
                line.append("")
                continue
            row = found[0]
            cell = _number(row[unit])
            if "times_slower" in row:
                cell += f" ({_number(row['times_slower'])}x)"
            line.append(cell)
        lines.append(line)
    return _table([f"{unit.replace('_', ' ')} (times slower)", *[case.replace(shorten, "") for case in cases]], lines)


def _errors(rows: Rows, cases: list[str]) -> list[str]:
    methods = list(dict.fromkeys(row["method"] for row in rows if "worst_l1" in row))
    lines = []
    for method in methods:
        found = {row["case"]: row.get("worst_l1") for row in rows if row["method"] == method}
        lines.append([method, *["" if found.get(case) is None else f"{found[case]:.1e}" for case in cases]])
    return _table(["worst L1 violation", *[case.replace(_EASY, "") for case in cases]], lines)


def _listed(rows: Rows, columns: list[str]) -> list[str]:
    lines = []
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        lines.append([_number(cell) if isinstance(cell, float) else str(cell) for cell in cells])
    return _table([column.replace("_", " ") for column in columns], lines)


def tables(results: dict[str, Any]) -> str:
    """Markdown for one run."""
    rows: Rows = results["rows"]
    machine = results["machine"]
    easy = [row for row in rows if row["workload"] == "W1" and row["case"].endswith(_EASY)]
    cases = list(dict.fromkeys(row["case"] for row in easy))
    tail = [row for row in rows if row["workload"] == "W1" and " eps .01 " in row["case"]]
    zoo = [row for row in rows if row["workload"] == "W2"]
    loss = [row for row in rows if row["workload"] == "W3"]
    threads = [row for row in rows if "us_two" in row]
    workers = [row for row in rows if "processor_gain" in row]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    parts = [
        [
            f"Command: `{results['command']}`. Machine: {machine['processor']}, {machine['cores']} cores, load average "
            f"{machine['load']:.1f} at the end, accelerator: {machine['accelerator']}. {versions}.",
        ],
        ["**Prediction transport (W1)**, eps .05, tol 1e-3, one thread, microseconds per item:"],
        _by_case(easy, cases, "us_per_item", _EASY),
        _errors(easy, cases),
        ["Rates of the products, GF/s; `same shape` and `square` are plain matrix products:"],
        _table(
            ["K x S", "ours", "same shape", "square", "iterations", "plain Sinkhorn's iterations"],
            [
                [
                    row["case"].replace(_EASY, ""),
                    *[
                        _number(row[key])
                        for key in ("ours", "gflops", "square_gflops", "iterations", "plain_iterations")
                    ],
                ]
                for row in easy
                if "ours" in row
            ],
        ),
        ["**Hard tail**, eps .01, microseconds per item:"],
        _listed(tail, ["case", "us_tol_1e_3", "us_tol_1e_6", "ratio", "unconverged", "value_error", "most_passes"]),
        ["**Two threads**, elapsed microseconds per item, and **two workers** (1000x100):"],
        _listed(threads, ["case", "method", "us_one", "us_two", "gain"]),
        _listed(workers, ["case", "elapsed_gain", "processor_gain", "load_before"]),
        ["**Top 10 of a zoo (W2)**, milliseconds per query:"],
        _by_case(zoo, list(dict.fromkeys(row["case"] for row in zoo)), "ms"),
        _listed([row for row in zoo if "solved" in row], ["case", "solved", "pruned"]),
        ["**Loss and gradient (W3)**, eps .05, tol 1e-5, batch 256, microseconds per item:"],
        _by_case(loss, list(dict.fromkeys(row["case"] for row in loss)), "us_per_item", " batch 256"),
        _listed([row for row in loss if row["method"] == "preceptor"], ["case", "gradient_error"]),
        [f"**Targets**: {sum(t['holds'] for t in results['targets'])} of {len(results['targets'])} hold."],
        _table(
            ["target", "wanted", "measured", "holds"],
            [
                [
                    target["name"],
                    f"{'at most' if target['at_most'] else 'at least'} {target['target']:g}",
                    f"{target['measured']:.3g}",
                    "yes" if target["holds"] else "**no**",
                ]
                for target in results["targets"]
            ],
        ),
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def renewed(page: str, results: dict[str, Any]) -> str:
    """The page with the tables of ``results`` between its two markers."""
    head, rest = page.split(_BEGIN)
    _, tail = rest.split(_END)
    return f"{head}{_BEGIN}\n\n{tables(results)}\n\n{_END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text())), encoding="utf-8")
