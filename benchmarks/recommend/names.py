"""Rankings by names over a large zoo: HTTP, queue, search, explanation; compared with search only and brute force."""

import random
import tempfile
import time
from pathlib import Path

import httpx2
import numpy as np

from benchmarks.recommend.stack import register_teachers, settings
from benchmarks.report import Report
from service.cli.dev_stack import Stack
from worker.label_encoder import load_encoder
from worker.transport import LabelIndex, brute_force, top_k

_CLASSES = 10


def measure(report: Report, words: list[str], count: int, asked: int) -> None:
    """Each request uses other classes, so that no cost matrix is cached."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        began = time.perf_counter()
        register_teachers(data, count, words)
        report.row("names", f"{count} label sets", "write the zoo", seconds=time.perf_counter() - began)
        generator = random.Random(1)
        students = [generator.sample(words, _CLASSES) for _ in range(asked)]
        for mode in ("coverage", "balanced"):
            with Stack(settings(data), logs=data / "logs") as stack, httpx2.Client(base_url=stack.url) as client:
                times, inside, solved = [], [], 0
                for number, labels in enumerate([students[0], *students]):
                    began = time.perf_counter()
                    answer = client.post(
                        "/v1/recommendations",
                        json={"student": {"labels": labels}, "mode": mode},
                        headers={"Prefer": "wait=60"},
                        timeout=70,
                    )
                    spent = time.perf_counter() - began
                    result = answer.json()["result"]
                    if number == 0:
                        report.row("names", f"{count} label sets, {mode}", "first after start", seconds=spent)
                        continue
                    times.append(spent)
                    inside.append(result["timings"]["total"])
                    solved = result["solved"]
            p50 = float(np.median(times))
            report.row(
                "names",
                f"{count} label sets, {mode}",
                "over HTTP, warm",
                p50_ms=p50 * 1e3,
                p95_ms=float(np.quantile(times, 0.95)) * 1e3,
                worker_p50_ms=float(np.median(inside)) * 1e3,
                solved=solved,
            )
            if count == 10_000:
                report.target(f"names, {count} label sets, {mode}: p50 ms", 100, p50 * 1e3, at_most=True)
        _bare(report, next((data / "label-index").iterdir()), students, count)


def _bare(report: Report, folder: Path, students: list[list[str]], count: int) -> None:
    encoder = load_encoder("minilm")
    index = LabelIndex.open(folder, encoder.identity, encoder.dim)
    rows = [encoder.encode(labels) for labels in students]
    for mode in ("coverage", "balanced"):
        times, all_times = [], []
        for number, student in enumerate(rows):
            began = time.perf_counter()
            found = top_k(index, student, None, 10, mode=mode)  # pyright: ignore[reportArgumentType]
            times.append(time.perf_counter() - began)
            if number < 3:
                began = time.perf_counter()
                whole = brute_force(index, student, None, 10, mode=mode)  # pyright: ignore[reportArgumentType]
                all_times.append(time.perf_counter() - began)
                if whole.ids != found.ids:
                    raise RuntimeError("the search differs from brute force")
        report.row(
            "names",
            f"{count} label sets, {mode}",
            "search alone",
            p50_ms=float(np.median(times)) * 1e3,
            brute_force_ms=float(np.median(all_times)) * 1e3,
        )
