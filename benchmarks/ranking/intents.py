"""Intents: CLINC150 and Banking77, with teachers of domains, mixes and all intents in three families.

The students' input is a hashed bag of words. Teachers are trained on one half of the training texts; pools are the
other half.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.intent_corpus import Corpus
from benchmarks.ranking.heads import HeadData, trained
from benchmarks.ranking.vectors import kept_vectors
from benchmarks.ranking.world import Float32, Int64, Target, World, ZooTeacher
from worker.distillation.inputs import ArrayItems
from worker.label_encoder import load_encoder

SIZE = 15
"""Classes of a size-matched teacher, and of a student."""
_ITEMS = 50
"""Training items of a teacher for each class."""
_TEST = 1000
_PURE = ("banking", "travel", "kitchen_and_dining", "work")
_HALVES = (("auto_and_commute", "small_talk"), ("home", "utility"), ("meta", "credit_cards"))
_QUARTERS = (
    ("travel", "work", "home", "small_talk"),
    ("banking", "meta", "utility", "kitchen_and_dining"),
    ("credit_cards", "auto_and_commute", "work", "utility"),
)
_BANKING_TASKS = 4


class _Both:
    """The concatenation of the two collections: Banking77's rows and classes follow CLINC150's."""

    def __init__(self, folder: Path) -> None:
        self.clinc, self.banking = Corpus("clinc150", folder), Corpus("banking77", folder)
        self.first = len(self.clinc.texts), len(self.clinc.names)
        self.texts = [*self.clinc.texts, *self.banking.texts]
        self.labels = np.concatenate([self.clinc.labels, self.banking.labels + self.first[1]])
        self.names = [*self.clinc.names, *self.banking.names]
        self.points = np.concatenate([self.clinc.points, self.banking.points])
        self.hashed = np.concatenate([self.clinc.hashed, self.banking.hashed])
        halves = [self.clinc.halves(0), tuple(half + self.first[0] for half in self.banking.halves(0))]
        self.teaching = np.concatenate([half[0] for half in halves])
        self.pool = np.concatenate([half[1] for half in halves])
        self.test = np.concatenate(
            [
                np.arange(self.clinc.test_from, self.first[0]),
                np.arange(self.first[0] + self.banking.test_from, len(self.texts)),
            ]
        )


def world(folder: Path, kept: Path) -> World:
    """Train the zoo and create the tasks.

    Parameters
    ----------
    folder
        Holds ``clinc150/`` and ``banking77/``.
    kept
        Folder for the slow encoder's vectors.
    """
    both = _Both(folder)
    slow = kept_vectors(kept / "intents-minilm.npy", lambda: load_encoder("minilm").encode(both.texts))
    zoo = list(_zoo(both, slow))
    targets = [_target(both, name, domain, classes) for name, domain, classes in _tasks(both)]
    return World("intents", lambda rows: ArrayItems(features=both.hashed[rows]), zoo, targets)


def _zoo(both: _Both, slow: Float32) -> Iterator[ZooTeacher]:
    static = np.concatenate([both.clinc.static, both.banking.static])

    def head_data(family: str, head: str, vectors: Float32, penalty: float) -> HeadData:
        return HeadData(
            family,
            "mlp" if head == "mlp" else "linear",
            vectors,
            both.labels,
            both.names,
            both.points,
            both.teaching,
            both.test,
            penalty,
        )

    head_data_sets = [
        head_data("static linear", "linear", static, 30.0),
        head_data("static mlp", "mlp", static, 0.0),
        head_data("sentence linear", "linear", slow, 30.0),
    ]
    clinc, banking = np.arange(both.first[1]), np.arange(both.first[1], len(both.names))
    generator = np.random.default_rng(15)
    mixes = [np.sort(generator.permutation(clinc)[:SIZE]) for _ in range(6)]
    banks = [np.sort(generator.permutation(banking)[:SIZE]) for _ in range(4)]
    wide = [np.sort(generator.permutation(clinc)[:45]) for _ in range(2)]
    for number, each in enumerate(head_data_sets):
        for domain in both.clinc.described["domains"]:
            yield trained(each, domain, both.clinc.domain(domain), _ITEMS)
        if number == 1:
            continue
        for place, classes in enumerate(mixes):
            yield trained(each, f"mix {place}", classes, _ITEMS)
        for place, classes in enumerate(banks):
            yield trained(each, f"banking77 part {place}", classes, _ITEMS)
        for place, classes in enumerate(wide):
            yield trained(each, f"45 intents {place}", classes, _ITEMS)
        yield trained(each, "all 150 intents", clinc, _ITEMS)
    yield trained(head_data_sets[0], "all of banking77", banking, _ITEMS)
    for domain in ("travel", "work", "home"):
        yield trained(head_data_sets[0], f"{domain}, few and noisy labels", both.clinc.domain(domain), 8, noise=0.3)


def _tasks(both: _Both) -> Iterator[tuple[str, str, Int64]]:
    """Tasks by overlap with the best size-matched teacher: all, half and a quarter of the classes; only in parts."""
    for domain in _PURE:
        yield f"clinc150 {domain}", f"clinc150 {domain}", np.sort(both.clinc.domain(domain))
    generator = np.random.default_rng(77)
    for pair in _HALVES:
        parts = [generator.permutation(both.clinc.domain(d))[:count] for d, count in zip(pair, (8, 7), strict=True)]
        yield f"clinc150 {' + '.join(pair)}", "clinc150 halves", np.sort(np.concatenate(parts))
    for four in _QUARTERS:
        parts = [generator.permutation(both.clinc.domain(domain))[:4] for domain in four]
        yield f"clinc150 {' + '.join(four)}", "clinc150 quarters", np.sort(np.concatenate(parts))
    for number in range(_BANKING_TASKS):
        classes = both.first[1] + generator.permutation(len(both.banking.names))[:SIZE]
        yield f"banking77 {number}", "banking77", np.sort(classes)


def _target(both: _Both, name: str, domain: str, classes: Int64) -> Target:
    def of(rows: Int64) -> tuple[Int64, Int64]:
        chosen = rows[np.isin(both.labels[rows], classes)]
        return chosen, np.searchsorted(classes, both.labels[chosen])

    pool, pool_labels = of(both.pool)
    test, test_labels = of(both.test)
    return Target(
        name,
        domain,
        [both.names[c] for c in classes],
        both.points[classes],
        pool,
        pool_labels,
        test[:_TEST],
        test_labels[:_TEST],
    )
