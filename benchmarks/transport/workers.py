"""Two workers on two cores: throughput compared with one worker, each with one intra-op thread."""

import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier

import torch

from benchmarks.report import Report
from benchmarks.transport.workloads import prediction_batch
from worker.transport import sinkhorn


def _work(start: Barrier, seconds: float, done: "multiprocessing.Queue[tuple[float, float]]") -> None:
    torch.set_num_threads(1)
    batch = prediction_batch(1024, 1000, 100)
    sinkhorn(batch.predictions, batch.targets, batch.cost, eps=0.05)
    start.wait()
    began, spent, items = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        sinkhorn(batch.predictions, batch.targets, batch.cost, eps=0.05)
        items += 1024
    done.put((items / (time.perf_counter() - began), items / (time.process_time() - spent)))


def _throughput(workers: int, seconds: float) -> tuple[float, float]:
    """Items per elapsed second of all workers together, and per processor second of one."""
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=_work, args=(start, seconds, done)) for _ in range(workers)]
    for process in processes:
        process.start()
    rates = [done.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rate for rate, _ in rates), sum(rate for _, rate in rates) / workers


def scaling(report: Report, fast: bool) -> None:
    """Items per second, 1000x100. Elapsed time includes other programs, so the target uses processor seconds."""
    seconds = 3.0 if fast else 8.0
    load = os.getloadavg()[0]
    one, two = _throughput(1, seconds), _throughput(2, seconds)
    report.row(
        "W1",
        "1000x100 two workers",
        "preceptor",
        elapsed_gain=two[0] / one[0],
        processor_gain=2 * two[1] / one[1],
        load_before=load,
    )
    report.target("two workers: throughput over one worker, processor time", 1.8, 2 * two[1] / one[1])
