"""Text tasks: intents of Banking77 and CLINC150; teachers are linear heads on static word vectors.

The input of the students is a hashed bag of words (vectors, student `mlp`) or the texts (student `bow`, which also uses
the static vectors, so that the teachers have less additional information).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.distill.cell import Cell, Float32, Int64, Task, noise_like, numbers, overlapping, split
from benchmarks.intent_corpus import Corpus
from worker.distillation.inputs import ArrayItems, TeacherSignal, TrainingData

CLASSES = 15
TRANSFER = 400
TEST = 600
OVERLAPS = (0.0, 0.25, 0.5, 1.0)
_TEACHER_ITEMS = 60
"""Training items of a teacher for each class."""
_PENALTY = 30.0


def tasks(folder: Path) -> Iterator[Task]:
    """Overlaps within Banking77, and CLINC150 teachers for Banking77 students."""
    clinc, banking = Corpus("clinc150", folder), Corpus("banking77", folder)
    for overlap in OVERLAPS:
        yield _within(banking, overlap)
    yield _across(clinc, banking, "mlp")
    yield _across(clinc, banking, "bow")


def _within(corpus: Corpus, overlap: float) -> Task:
    def cell(each: int, seed: int) -> Cell:
        generator = np.random.default_rng([seed, round(100 * overlap), len(corpus.names)])
        every = np.arange(len(corpus.names))
        classes = np.sort(generator.permutation(every)[:CLASSES])
        sets: dict[str, Int64] = {}
        for place in range(3):
            size = CLASSES + (5 * place if overlap == 1 else 0)
            both = overlapping(classes, every, overlap, size, generator)
            sets[f"overlap {overlap:.0%} {place}"] = np.sort(np.concatenate(both))
        for place in range(2):
            sets[f"other {place}"] = np.sort(generator.permutation(np.setdiff1d(every, classes))[:CLASSES])
        return _cell(corpus, corpus, classes, sets, each, seed, generator, "mlp")

    return Task(f"{corpus.name} {overlap:.0%}", "text", overlap, cell)


def _across(source: Corpus, target: Corpus, student: str) -> Task:
    def cell(each: int, seed: int) -> Cell:
        generator = np.random.default_rng([seed, 1])
        classes = np.sort(generator.permutation(len(target.names))[:CLASSES])
        sets = {name: source.domain(name) for name in ("banking", "credit_cards", "travel", "kitchen_and_dining")}
        sets["mixed"] = np.sort(generator.permutation(len(source.names))[:CLASSES])
        return _cell(source, target, classes, sets, each, seed, generator, student)

    return Task(f"clinc150 to banking77, {student}", "text", None, cell)


def _cell(
    source: Corpus,
    target: Corpus,
    classes: Int64,
    sets: dict[str, Int64],
    each: int,
    seed: int,
    generator: np.random.Generator,
    student: str,
) -> Cell:
    teaching, _ = source.halves(seed)
    _, pool = target.halves(seed)
    chosen = split(target.labels[pool], classes, each, TRANSFER, generator)
    labelled, transfer = pool[chosen.labelled], pool[chosen.transfer]
    tested = target.test_from + np.flatnonzero(np.isin(target.labels[target.test_from :], classes))
    test = generator.permutation(tested)[:TEST]

    def signal(name: str, mine: Int64, weights: np.ndarray, bias: np.ndarray) -> TeacherSignal:
        def logits(rows: Int64) -> Float32:
            return (target.static[rows] @ weights.T + bias).astype(np.float32)

        cost = (1 - source.points[mine] @ target.points[classes].T).astype(np.float32)
        return TeacherSignal(name, [source.names[c] for c in mine], logits(labelled), cost, logits(transfer))

    def trained(name: str, mine: Int64) -> TeacherSignal:
        rows = np.concatenate([teaching[source.labels[teaching] == c][:_TEACHER_ITEMS] for c in mine])
        model = LogisticRegression(C=_PENALTY, max_iter=200).fit(source.static[rows], source.labels[rows])
        return signal(name, mine, model.coef_, model.intercept_)

    zoo = [trained(name, mine) for name, mine in sets.items()]
    some = np.sort(generator.permutation(len(source.names))[:CLASSES])
    random = signal("random weights", some, 30 * generator.normal(size=(CLASSES, 256)), np.zeros(CLASSES))
    head = LogisticRegression(C=_PENALTY, max_iter=200).fit(target.static[labelled], target.labels[labelled])
    number = numbers(classes)

    def items(rows: Int64) -> ArrayItems:
        if student == "bow":
            return ArrayItems(texts=[target.texts[row] for row in rows])
        return ArrayItems(features=target.hashed[rows])

    def own(rows: Int64) -> Int64:
        return np.array([number[int(c)] for c in target.labels[rows]], dtype=np.int64)

    data = TrainingData(
        items(labelled),
        own(labelled),
        [target.names[c] for c in classes],
        items(transfer),
        items(test),
        own(test),
    )
    upper = float(head.score(target.static[test], target.labels[test]))
    return Cell(data, zoo, random, noise_like(random, generator), upper)
