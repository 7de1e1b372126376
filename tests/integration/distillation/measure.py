"""Measures the distillation room on real data: related, unrelated and random teachers, over seeds.

    python tests/integration/distillation/measure.py digits
    python tests/integration/distillation/measure.py text --data FOLDER

`digits` uses the pictures that ship with scikit-learn. `text` wants a folder with `clinc150/` and `banking77/`
(Parquet with the columns text and label, and labels.json): teachers of CLINC intents, students of 15 Banking77
intents, on a hashed bag of words. Prints one row a task and teacher.
"""

import argparse
import json
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from preceptor.contract.distillations import Training
from worker.distillation.distill import distill
from worker.distillation.request import (
    ArrayItems,
    Loss,
    Recipe,
    RidgeMapLoss,
    TeacherSignal,
    TrainingData,
    TransportLoss,
)


@dataclass
class Task:
    """A student's data and the teachers that are tried on it."""

    name: str
    data: TrainingData
    teachers: dict[str, list[TeacherSignal]]


def digit_tasks(seeds: int) -> Iterator[Task]:
    """Ten digits, 3 labels each, 370 unlabelled, 497 test items; linear teachers of digit groups."""
    loaded = load_digits()
    names = [str(n) for n in range(10)]
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(loaded.target))
        x, y = loaded.data[order].astype(np.float32), loaded.target[order].astype(np.int64)
        pool = np.arange(900, 1300)
        labelled = np.concatenate([pool[y[pool] == c][:3] for c in range(10)])
        transfer, test = np.setdiff1d(pool, labelled), np.arange(1300, 1797)

        def signal(name: str, weights: Any, bias: Any, cost: Any, *, x=x, a=labelled, b=transfer) -> TeacherSignal:
            logits = (x @ weights.T + bias).astype(np.float32)
            return TeacherSignal(name, [f"{name} {n}" for n in range(len(cost))], logits[a], cost, logits[b])

        def group(classes: list[int], *, x=x, y=y, signal=signal) -> TeacherSignal:
            chosen = np.isin(y[:900], classes)
            model = LogisticRegression(C=0.01, max_iter=2000).fit(x[:900][chosen], y[:900][chosen])
            cost = np.full((len(classes), 10), 0.6, dtype=np.float32)
            cost[np.arange(len(classes)), classes] = 0
            return signal(f"digits {classes}", model.coef_, model.intercept_, cost)

        generator = np.random.default_rng(100 + seed)
        blind = (0.3 + 0.6 * generator.random((8, 10))).astype(np.float32)
        random = signal("random weights", 0.3 * generator.normal(size=(8, 64)), np.zeros(8), blind)
        noise = TeacherSignal(
            "noise",
            random.labels,
            (4 * generator.normal(size=(len(labelled), 8))).astype(np.float32),
            blind,
            (4 * generator.normal(size=(len(transfer), 8))).astype(np.float32),
        )
        eight, five, three = group(list(range(8))), group([0, 1, 2, 3, 4]), group([7, 8, 9])
        yield Task(
            f"digits {seed}",
            TrainingData(
                ArrayItems(features=x[labelled]),
                y[labelled],
                names,
                ArrayItems(features=x[transfer]),
                ArrayItems(features=x[test]),
                y[test],
            ),
            {
                "digits 0-7": [eight],
                "digits 0-4": [five],
                "digits 7-9": [three],
                "team: 0-4 and 7-9": [five, three],
                "random weights": [random],
                "noise": [noise],
                "team: 0-7 and noise": [eight, noise],
            },
        )


def text_tasks(folder: Path, seeds: int, labels: int) -> Iterator[Task]:
    """15 Banking77 intents; teachers are linear heads on static word vectors, trained on CLINC intents."""
    import pyarrow.parquet as parquet

    from worker.teachers.label_encoder import load_encoder

    encoder, static = load_encoder("minilm"), load_encoder("wordllama")

    def read(name: str, part: str) -> tuple[list[str], np.ndarray]:
        table = parquet.read_table(folder / name / f"{part}.parquet").to_pydict()
        return table["text"], np.asarray(table["label"])

    def hashed(texts: list[str]) -> np.ndarray:
        rows = np.zeros((len(texts), 1024), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                row[zlib.crc32(word.encode()) % 1024] += 1
            row /= max(float(np.linalg.norm(row)), 1e-9)
        return rows

    clinc, banking = (json.loads((folder / n / "labels.json").read_text()) for n in ("clinc150", "banking77"))
    texts, y = read("clinc150", "train")
    x = static.encode(texts)
    domain = {name: key for key, members in clinc["domains"].items() for name in members}
    domains = np.array([domain[name] for name in clinc["names"]])
    heads: dict[str, tuple[Any, np.ndarray]] = {}
    for name in ("all 150", "banking", "travel"):
        classes = np.arange(150) if name == "all 150" else np.flatnonzero(domains == name)
        chosen = np.isin(y, classes)
        heads[name] = (LogisticRegression(C=100, max_iter=300).fit(x[chosen], y[chosen]), classes)
    names = {n: encoder.encode(labels_["names"]) for n, labels_ in (("clinc", clinc), ("banking", banking))}
    (train_texts, train_y), (test_texts, test_y) = read("banking77", "train"), read("banking77", "test")
    train_x, test_x, train_static = hashed(train_texts), hashed(test_texts), static.encode(train_texts)
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        classes = np.sort(generator.permutation(77)[:15])
        labelled = np.concatenate([generator.permutation(np.flatnonzero(train_y == c))[:labels] for c in classes])
        pool = np.setdiff1d(np.flatnonzero(np.isin(train_y, classes)), labelled)
        transfer = generator.permutation(pool)[:1000]
        test = np.flatnonzero(np.isin(test_y, classes))
        number = {c: n for n, c in enumerate(classes)}

        def signal(name: str, logits: Any, mine: np.ndarray, *, a=labelled, b=transfer, to=classes) -> TeacherSignal:
            cost = (1 - names["clinc"][mine] @ names["banking"][to].T).astype(np.float32)
            chosen = [clinc["names"][k] for k in mine]
            return TeacherSignal(name, chosen, logits[a].astype(np.float32), cost, logits[b].astype(np.float32))

        teachers = {
            name: [signal(name, train_static @ model.coef_.T + model.intercept_, mine)]
            for name, (model, mine) in heads.items()
        }
        some = generator.permutation(150)[:15]
        teachers["random weights"] = [signal("random", train_static @ (30 * generator.normal(size=(256, 15))), some)]
        teachers["noise"] = [signal("noise", 4 * generator.normal(size=(len(train_y), 15)), some)]
        teachers["team: banking, travel, noise"] = [teachers[n][0] for n in ("banking", "travel", "noise")]
        yield Task(
            f"banking {seed}",
            TrainingData(
                ArrayItems(features=train_x[labelled]),
                np.array([number[c] for c in train_y[labelled]]),
                [banking["names"][c] for c in classes],
                ArrayItems(features=train_x[transfer]),
                ArrayItems(features=test_x[test]),
                np.array([number[c] for c in test_y[test]]),
            ),
            teachers,
        )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["digits", "text"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15)
    asked = parser.parse_args()
    tasks = digit_tasks(asked.seeds) if asked.what == "digits" else text_tasks(asked.data, asked.seeds, asked.labels)
    losses: dict[str, Loss] = {
        "transport, gated": TransportLoss(),
        "transport, weight 1": TransportLoss(weight=1.0),
        "names only, weight 1": TransportLoss(weight=1.0, ground_cost="names"),
        "ridge map, weight 1": RidgeMapLoss(weight=1.0),
    }
    gains: dict[tuple[str, str], list[float]] = {}
    weights: dict[str, list[float]] = {}
    for task in tasks:
        for teacher, signals in task.teachers.items():
            for name, loss in losses.items():
                started = time.perf_counter()
                with tempfile.TemporaryDirectory() as folder:
                    outcome = distill(
                        Recipe(loss=loss, training=Training(epochs=asked.epochs)),
                        task.data,
                        signals,
                        on_event=lambda kind, event: None,
                        should_stop=lambda: False,
                        folder=Path(folder),
                    )
                assert outcome.gain is not None
                assert outcome.without_teacher is not None
                gains.setdefault((teacher, name), []).append(outcome.gain.mean)
                if loss.weight == "auto":
                    weights.setdefault(teacher, []).append(outcome.weight)
                print(
                    f"{task.name:12} {teacher:30} {name:22} without {outcome.without_teacher.mean:.3f} "
                    f"gain {outcome.gain.mean:+.3f} [{outcome.gain.low:+.3f}, {outcome.gain.high:+.3f}] "
                    f"weight {outcome.weight:g} {time.perf_counter() - started:.0f} s",
                    flush=True,
                )
    print("| teacher | " + " | ".join(losses) + " | weights chosen |")
    for teacher in dict.fromkeys(key[0] for key in gains):
        row = " | ".join(f"{np.mean(gains[teacher, name]):+.3f}" for name in losses)
        print(f"| {teacher} | {row} | {', '.join(f'{w:g}' for w in weights[teacher])} |")


if __name__ == "__main__":
    main()
