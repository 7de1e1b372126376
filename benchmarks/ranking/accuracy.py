"""The expected accuracy of a ranking's rows against the accuracy that is then measured.

Twice: against the same map on the tasks' test items, which it promises, and against the distilled students, which it
does not, also after a line that was fitted on the other tasks.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from benchmarks.ranking.grid import Measured
from benchmarks.ranking.scores import evidence, probe
from benchmarks.ranking.world import Target, ZooTeacher
from benchmarks.report import Report
from worker.ranking.estimators.evidence import Evidence
from worker.ranking.estimators.transport_map import held_out_fit, names_plan
from worker.ranking.expected_accuracy import expected_accuracy

Vector = NDArray[np.float64]


def measure(out: Report, tasks: list[Measured], loss: str, sizes: tuple[int, ...]) -> None:
    """A row for every world and size; shares, not points."""
    for each in sizes:
        known = [(task, *_of_task(task, each)) for task in tasks]
        for world in dict.fromkeys(task.world.name for task in tasks):
            mine = [(task, *rest) for task, *rest in known if task.world.name == world]
            said = np.concatenate([said[0] for _, said, _ in mine])
            low, high = (np.concatenate([said[row] for _, said, _ in mine]) for row in (1, 2))
            held = np.concatenate([held for *_, held in mine])
            students = np.concatenate([task.truth(loss) for task, *_ in mine])
            lined = [_line(task, known, loss) for task, *_ in mine]
            out.row(
                "accuracy",
                f"{each} items a class",
                world,
                said=float(said.mean()),
                measured=float(held.mean()),
                error=float(np.abs(said - held).mean()),
                of_90_percent=float(np.mean((low <= held) & (held <= high))),
                students=float(students.mean()),
                student_error=float(np.abs(said - students).mean()),
                student_error_calibrated=float(np.abs(np.concatenate(lined) - students).mean()),
                within_task_r=float(np.mean([np.corrcoef(s[0], task.truth(loss))[0, 1] for task, s, _ in mine])),
            )


def _of_task(task: Measured, each: int) -> tuple[NDArray[np.float64], Vector]:
    """Expected accuracy with its interval, shape (3, T), and that of the same map on the test items, shape (T,)."""
    chosen = probe(task.target, each, 0)
    said, held = [], []
    for teacher in task.world.zoo:
        known = evidence(teacher, task.target, chosen)
        found = expected_accuracy(known)
        assert found is not None
        said.append((found.points / 100, found.low / 100, found.high / 100))
        held.append(_on_test(teacher, task.target, known, task.target.pool[chosen]))
    return np.array(said).T, np.array(held)


def _on_test(teacher: ZooTeacher, target: Target, known: Evidence, rows: NDArray[np.int64]) -> float:
    """Accuracy on the test items of the map that was fitted to the probe, by dense matrices."""
    best = held_out_fit(known)
    seen = log_softmax(teacher.logits[rows].astype(np.float64), axis=1)
    middle = seen.mean(axis=0)
    spread = (seen - middle).std(axis=0)
    scale = np.where(spread > 1e-5, spread, np.inf) * np.sqrt(len(spread))
    fitted = (seen - middle) / scale
    tested = (log_softmax(teacher.logits[target.test].astype(np.float64), axis=1) - middle) / scale
    plan = best.start * names_plan(np.asarray(known.text_cost, dtype=np.float64))
    targets = np.eye(known.student_classes)[known.labels]
    gram = fitted @ fitted.T + best.penalty * (fitted**2).sum() * np.eye(len(fitted))
    weights = plan + fitted.T @ np.linalg.solve(gram, targets - targets.mean(axis=0) - fitted @ plan)
    return float(((targets.mean(axis=0) + tested @ weights).argmax(axis=1) == target.test_labels).mean())


def _line(task: Measured, known: list[tuple[Measured, NDArray[np.float64], Vector]], loss: str) -> Vector:
    """Students' accuracies by a line through those of the other tasks, shape (T,)."""
    others = [(said[0], other.truth(loss)) for other, said, _ in known if other is not task]
    x, y = (np.concatenate(side) for side in zip(*others, strict=True))
    slope, level = np.polyfit(x, y, 1)
    return level + slope * next(said[0] for other, said, _ in known if other is task)
