"""Two workers on two cores: throughput against one, each with one intra-op thread."""

import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier

import torch

from benchmarks.transport.report import Report
from benchmarks.transport.workloads import prediction_batch
from worker.transport import sinkhorn


def _work(start: Barrier, seconds: float, done: "multiprocessing.Queue[float]") -> None:
    torch.set_num_threads(1)
    batch = prediction_batch(1024, 1000, 100)
    sinkhorn(batch.predictions, batch.targets, batch.cost, eps=0.05)
    start.wait()
    began, items = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        sinkhorn(batch.predictions, batch.targets, batch.cost, eps=0.05)
        items += 1024
    done.put(items / (time.perf_counter() - began))


def _throughput(workers: int, seconds: float) -> float:
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=_work, args=(start, seconds, done)) for _ in range(workers)]
    for process in processes:
        process.start()
    total = sum(done.get() for _ in processes)
    for process in processes:
        process.join()
    return total


def scaling(report: Report, fast: bool) -> None:
    """Items per second of elapsed time, 1000x100."""
    seconds = 3.0 if fast else 8.0
    load = os.getloadavg()[0]
    one, two, again = _throughput(1, seconds), _throughput(2, seconds), _throughput(1, seconds)
    single = (one + again) / 2
    report.row("W1", "1000x100 two workers", "preceptor", one=single, two=two, gain=two / single, load_before=load)
    report.target("two workers: throughput over one worker", 1.7, two / single)
