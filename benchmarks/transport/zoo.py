"""W2 rows: the ten nearest teachers of a zoo, compared with loops that solve every teacher."""

import tempfile
from collections.abc import Callable

import numpy as np
import ot
from ot.lp.emd_wrap import emd_c

from benchmarks.report import Report
from benchmarks.transport.timing import cpu_seconds, interleave
from benchmarks.transport.workloads import zoo_case
from worker.transport import LabelIndex, brute_force, top_k
from worker.transport.index_state import Zoo

CASES = (
    ("10k random", 10_000, 0.0, 80, 20),
    ("10k, 5 % share labels", 10_000, 0.05, 60, 20),
    ("10k, 30 % share labels", 10_000, 0.3, 25, 7),
    ("100k random", 100_000, 0.0, 200, 60),
)


def _costs(zoo: Zoo, student: np.ndarray, teachers: range) -> list[tuple[np.ndarray, np.ndarray]]:
    """Prior and cost of some teachers, prepared: the measured loops only solve."""
    rows = zoo.vocabulary.astype(np.float64) @ student.T.astype(np.float64)
    table = np.maximum(1.0 - rows, 0.0)
    made = []
    for m in teachers:
        part = slice(zoo.starts[m], zoo.starts[m] + zoo.counts[m])
        a = zoo.weights[part].astype(np.float64)
        made.append((a / a.sum(), np.ascontiguousarray(table[zoo.members[part]])))
    return made


def _queries(
    index: LabelIndex, student: np.ndarray, b: np.ndarray, ready: list[tuple[np.ndarray, np.ndarray]]
) -> dict[str, Callable[[], float]]:
    return {
        "top_k": cpu_seconds(lambda: top_k(index, student, b, 10)),
        "coverage": cpu_seconds(lambda: top_k(index, student, b, 10, mode="coverage")),
        "emd2": cpu_seconds(lambda: [ot.emd2(a, b, cost) for a, cost in ready]),
        "raw": cpu_seconds(lambda: [emd_c(a, b, cost, 1_000_000, 1) for a, cost in ready]),
    }


def against_loops(report: Report, fast: bool) -> None:
    """Loops run over a sample of the zoo and are scaled up; brute force runs over the whole zoo once."""
    for name, size, share, public, raw in CASES:
        case = zoo_case(size, share=share)
        with tempfile.TemporaryDirectory() as folder:
            index = LabelIndex.open(folder, "bench", case.student.shape[1])
            index.add_many(case.teachers)
            sample = 300 if fast else 1000
            ready = _costs(index.zoo(), case.student, range(sample))
            b = case.prior
            timings = interleave(_queries(index, case.student, b, ready), 3 if fast else 7)
            found = top_k(index, case.student, b, 10)
            if size <= 10_000 or not fast:
                complete = brute_force(index, case.student, b, 10)
                same = complete.ids == found.ids and bool(np.allclose(complete.costs, found.costs, atol=1e-9))
                covering = top_k(index, case.student, b, 10, mode="coverage")
                same &= covering.ids == brute_force(index, case.student, b, 10, mode="coverage").ids
                report.target(f"W2 {name}: identical to brute force", 1, float(same))
            ours = timings["top_k"]
            report.row(
                "W2",
                name,
                "preceptor top 10",
                ms=ours.median * 1e3,
                spread=f"{ours.fastest * 1e3:.3g}..{ours.slowest * 1e3:.3g}",
                solved=found.solved,
                pruned=f"{1 - found.solved / size:.2%}",
            )
            report.row("W2", name, "preceptor coverage top 10", ms=timings["coverage"].median * 1e3)
            for key, method, least in (("emd2", "POT emd2 loop", public), ("raw", "raw simplex loop", raw)):
                whole = timings[key].median * size / sample
                report.row("W2", name, method, ms=whole * 1e3, times_slower=whole / ours.median)
                report.target(f"W2 {name}: times {method}", least, whole / ours.median)
