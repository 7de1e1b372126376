"""Growth of time and memory with N, K, S and M: rows, and a plot on log axes in docs/."""

import ctypes
import gc
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import Report
from benchmarks.transport.timing import cpu_seconds, interleave
from benchmarks.transport.workloads import prediction_batch, zoo_case
from worker.transport import LabelIndex, sinkhorn, top_k

_BASE = {"N": 1024, "K": 200, "S": 20}
_SWEEPS = {
    "N": (64, 256, 1024, 4096, 16384),
    "K": (10, 50, 200, 1000, 4000),
    "S": (5, 10, 20, 50, 100, 200),
    "M": (100, 1000, 10_000, 30_000, 100_000),
}


def _status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def resident_growth(call: Callable[[], object]) -> float:
    """Bytes by which a call's peak of resident memory exceeds the memory before; NaN on systems other than Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    # Freed memory that the allocator keeps would hide the memory of the call.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # peak := present
    before = _status("VmRSS")
    kept = call()
    peak = _status("VmHWM")
    del kept
    return float(max(0, peak - before))


def measure(report: Report, fast: bool) -> dict[str, list[tuple[int, float, float]]]:
    """(size, seconds, bytes) per axis."""
    series: dict[str, list[tuple[int, float, float]]] = {}
    for axis in ("N", "K", "S"):
        series[axis] = []
        for size in _SWEEPS[axis]:
            shape = {**_BASE, axis: size}
            batch = prediction_batch(shape["N"], shape["K"], shape["S"])
            run = cpu_seconds(lambda b=batch: sinkhorn(b.predictions, b.targets, b.cost, eps=0.05))
            seconds = interleave({"ours": run}, 3)["ours"].median
            memory = resident_growth(lambda b=batch: sinkhorn(b.predictions, b.targets, b.cost, eps=0.05))
            series[axis].append((size, seconds, memory))
            report.row("grow", f"{axis} = {size}", "sinkhorn", ms=seconds * 1e3, mib=memory / 2**20)
    series["M"] = []
    for size in _SWEEPS["M"][: 3 if fast else 5]:
        case = zoo_case(size)
        with tempfile.TemporaryDirectory() as folder:
            index = LabelIndex.open(folder, "bench", case.student.shape[1])
            index.add_many(case.teachers)
            index.zoo()
            run = cpu_seconds(lambda i=index, c=case: top_k(i, c.student, c.prior, 10))
            seconds = interleave({"ours": run}, 3)["ours"].median
            memory = resident_growth(lambda i=index, c=case: top_k(i, c.student, c.prior, 10))
        series["M"].append((size, seconds, memory))
        report.row("grow", f"M = {size}", "top_k", ms=seconds * 1e3, mib=memory / 2**20)
    first, last = series["N"][1], series["N"][-1]
    report.target(
        "growth in N: time per item, 16384 over 256", 1.5, (last[1] / last[0]) / (first[1] / first[0]), at_most=True
    )
    last_memory = series["N"][-1][2] / series["N"][-2][2]
    report.target("growth in N: memory, 16384 over 4096", 4.4, last_memory, at_most=True)
    first, last = series["M"][1], series["M"][-1]
    report.target(
        f"growth in M: time per teacher, {last[0]} over {first[0]}",
        1.5,
        (last[1] / last[0]) / (first[1] / first[0]),
        at_most=True,
    )
    return series


def plot(series: dict[str, list[tuple[int, float, float]]], path: Path) -> bool:
    """Draw the series; False if matplotlib is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    titles = {
        "N": "items N (K 200, S 20)",
        "K": "teacher labels K (N 1024, S 20)",
        "S": "student labels S (N 1024, K 200)",
        "M": "teachers M (top 10)",
    }
    figure, grid = pyplot.subplots(2, 4, figsize=(15, 6.5), sharex="col")
    for column, (axis, points) in enumerate(series.items()):
        sizes = [size for size, _, _ in points]
        for row, (name, scale) in enumerate((("time, ms (one core)", 1e3), ("peak memory of the call, MiB", 2**-20))):
            values = [point[1 + row] * scale for point in points]
            panel = grid[row][column]
            panel.loglog(sizes, values, "o-", color="#1f5fa8", label="measured")
            panel.loglog(sizes, [values[-1] * s / sizes[-1] for s in sizes], ":", color="#888888", label="linear")
            panel.grid(True, which="major", alpha=0.3)
            if column == 0:
                panel.set_ylabel(name)
            if row == 1:
                panel.set_xlabel(titles[axis])
    grid[0][0].legend(frameon=False)
    figure.suptitle("Growth of the transport engine, log axes")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True
