"""H-score, SFDA, PARC and k-NN against their definitions written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from scipy.stats import spearmanr
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage as reference_shrinkage
from sklearn.neighbors import KNeighborsClassifier

from worker.ranking.estimators.hscore import RegularisedHScore
from worker.ranking.estimators.knn import NearestNeighbour, leave_one_out
from worker.ranking.estimators.parc import Parc, parc
from worker.ranking.estimators.sfda import Sfda
from worker.ranking.estimators.shrunk_covariance import ledoit_wolf_shrinkage

WIDTHS = [5, 200]


@pytest.mark.parametrize("features", WIDTHS)
def test_shrinkage_equals_the_library(make_evidence, features):
    rows = make_evidence(features=features).features
    rows = rows - rows.mean(axis=0)
    shrinkage, _ = ledoit_wolf_shrinkage(rows, features)
    assert shrinkage == pytest.approx(reference_shrinkage(rows), abs=1e-12)


@pytest.mark.parametrize("features", WIDTHS)
def test_h_score_equals_dense_matrices(make_evidence, features):
    evidence = make_evidence(features=features)
    covariance, shrinkage = ledoit_wolf(evidence.features)
    rows = evidence.features - evidence.features.mean(axis=0)
    means = np.stack([rows[evidence.labels == evidence.labels[i]].mean(axis=0) for i in range(60)])
    expected = (1 - shrinkage) * np.trace(np.linalg.inv(covariance) @ (means.T @ means / 60))
    score = RegularisedHScore().estimate(evidence)
    assert score.value == pytest.approx(expected, rel=1e-8)
    assert score.details["shrinkage"] == pytest.approx(shrinkage)
    assert 0 <= score.value <= 2


def test_h_score_influence_equals_leaving_out(make_evidence, jackknife):
    evidence = make_evidence(items=600)
    fast, slow = RegularisedHScore().estimate(evidence).influence, jackknife(RegularisedHScore(), evidence)
    assert np.corrcoef(fast, slow)[0, 1] > 0.999
    assert fast.std() == pytest.approx(slow.std(), rel=0.02)


def slow_discriminant(rows, labels, shrinkage):
    """The authors' way: all generalised eigenvectors of between and within scatter."""
    classes = np.unique(labels)
    d = rows.shape[1]
    shares = np.array([(labels == c).mean() for c in classes])
    means = np.stack([rows[labels == c].mean(axis=0) for c in classes])
    within = sum(share * np.cov(rows[labels == c].T, bias=True) for share, c in zip(shares, classes, strict=True))
    if shrinkage is None:
        shrinkage = max(np.exp(-5 * np.linalg.eigvalsh(within)[-1]), 1e-10)

    def shrunk(matrix):
        return (1 - shrinkage) * matrix + shrinkage * np.trace(matrix) / d * np.eye(d)

    between = shrunk(np.cov(rows.T, bias=True)) - shrunk(within)
    _, vectors = scipy.linalg.eigh(between, shrunk(within))
    weights = means @ vectors @ vectors.T
    scores = rows @ weights.T - 0.5 * np.diag(means @ weights.T) + np.log(shares)
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True), shrinkage, means


def slow_sfda(rows, labels):
    posterior, shrinkage, means = slow_discriminant(rows, labels, None)
    confidence = np.exp(posterior) / np.exp(posterior).sum(axis=1, keepdims=True)
    moved = rows.copy()
    for i, c in enumerate(labels):
        others = np.mean([means[k] for k in range(len(means)) if k != c], axis=0)
        moved[i] = confidence[i, c] * rows[i] + (1 - confidence[i, c]) * others
    posterior = slow_discriminant(moved, labels, shrinkage)[0]
    return float(np.mean([posterior[i, c] for i, c in enumerate(labels)])), shrinkage


@pytest.mark.parametrize(("features", "scale"), [(5, 0.3), (5, 1.0), (200, 0.05)])
def test_sfda_equals_the_eigenproblem(make_evidence, features, scale):
    evidence = make_evidence(features=features)
    evidence = replace(evidence, features=evidence.features * scale)
    expected, shrinkage = slow_sfda(evidence.features, evidence.labels)
    score = Sfda().estimate(evidence)
    assert score.details["shrinkage"] == pytest.approx(shrinkage, rel=1e-6)
    assert score.value == pytest.approx(expected, rel=1e-6)


def test_sfda_survives_a_class_without_items_and_no_shrinkage(make_evidence):
    evidence = make_evidence(student=4, features=200)
    seen = evidence.take(np.flatnonzero(evidence.labels != 1))
    score = Sfda().estimate(seen)
    assert score.details["shrinkage"] == pytest.approx(1e-10)
    assert 0 < score.value <= 1


def slow_parc(rows, labels):
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    one_hot = np.eye(labels.max() + 1)[labels]
    left, right = [], []
    for i in range(len(rows)):
        for j in range(i):
            left.append(1 - np.corrcoef(standard[i], standard[j])[0, 1])
            right.append(round(1 - np.corrcoef(one_hot[i], one_hot[j])[0, 1], 9))
    return 100 * spearmanr(left, right)[0]


def test_parc_equals_loops(make_evidence):
    evidence = make_evidence(items=40)
    expected = slow_parc(evidence.features, evidence.labels)
    assert Parc().estimate(evidence).value == pytest.approx(expected, abs=1e-8)


def test_parc_influence_equals_leaving_out(make_evidence, jackknife):
    evidence = make_evidence(items=150, features=12)
    fast = Parc().estimate(evidence).influence
    standard = (evidence.features - evidence.features.mean(axis=0)) / evidence.features.std(axis=0)
    pairs = np.array([(i, j) for i in range(150) for j in range(i)])
    unlike = 1 - np.corrcoef(standard)[pairs[:, 0], pairs[:, 1]]
    apart = evidence.labels[pairs[:, 0]] != evidence.labels[pairs[:, 1]]
    whole = 100 * spearmanr(unlike, apart)[0]
    held = np.empty(150)
    for i in range(150):
        kept = (pairs != i).all(axis=1)
        held[i] = 149 * (whole - 100 * spearmanr(unlike[kept], apart[kept])[0])
    assert np.corrcoef(fast, held)[0, 1] > 0.9999
    assert fast.std() == pytest.approx(held.std(), rel=0.02)
    # What an item does to the columns' means and variances is left out, and is small.
    free = jackknife(Parc(), evidence)
    assert np.corrcoef(fast, free)[0, 1] > 0.95
    assert fast.std() == pytest.approx(free.std(), rel=0.1)


def test_parc_has_nothing_to_say_about_one_item_a_class():
    rows = np.random.default_rng(0).normal(size=(4, 6))
    value, influence = parc(rows, np.arange(4))
    assert value == 0
    assert not influence.any()


@pytest.mark.parametrize("k", [1, 5])
def test_knn_equals_refitting_without_the_item(make_evidence, k):
    evidence = make_evidence(items=50)
    rows, labels = evidence.features, evidence.labels
    votes = []
    for i in range(50):
        rest = np.delete(np.arange(50), i)
        # Weights that only break ties: the nearest member of a tied class decides.
        model = KNeighborsClassifier(k).fit(rows[rest], labels[rest])
        near = labels[rest][model.kneighbors(rows[i : i + 1])[1][0]]
        counts = np.bincount(near, minlength=3)
        tied = [c for c in near if counts[c] == counts.max()]
        votes.append(tied[0] == labels[i])
    np.testing.assert_array_equal(leave_one_out(rows, labels, k), votes)
    assert NearestNeighbour(k).estimate(evidence).value == pytest.approx(np.mean(votes))


def test_knn_gives_a_tied_vote_to_the_nearest():
    rows = np.array([[0.0], [1.0], [1.5], [-2.0], [-2.5], [40.0]])
    labels = np.array([1, 1, 0, 0, 1, 2])
    # The item at 0 sees 1 (class 1), 1.5 and -2 (class 0), -2.5 (class 1): two votes each, the nearest decides.
    assert leave_one_out(rows, labels, 4)[0]
    assert not leave_one_out(rows, labels, 3)[0]


def slow_nearest(rows, labels):
    """One nearest neighbour in float64 by differences; items at one distance share the vote."""
    right = []
    for i in range(len(rows)):
        distances = ((rows - rows[i]) ** 2).sum(axis=1)
        distances[i] = np.inf
        counts = np.bincount(labels[distances <= distances.min() + 1e-10 * (rows**2).sum(axis=1).max()])
        best = np.flatnonzero(counts == counts.max())
        right.append((labels[i] in best) / len(best))
    return np.array(right)


@pytest.mark.parametrize("kind", ["far apart", "near the mean", "repeated", "few places"])
def test_knn_in_blocks_equals_differences_in_float64(kind):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 30))
    labels = rng.integers(0, 4, 300)
    if kind == "near the mean":
        rows = 1 + 1e-3 * rows  # Float32 alone could not tell these apart.
    if kind == "repeated":
        rows[150:] = rows[:150]
    if kind == "few places":
        rows = rows[rng.integers(0, 3, 300)]
    np.testing.assert_allclose(leave_one_out(rows, labels, 1), slow_nearest(rows, labels))


def test_knn_with_one_item_a_class_is_never_right(make_evidence):
    evidence = make_evidence(items=3)
    assert NearestNeighbour().estimate(evidence).value == 0
    assert NearestNeighbour().estimate(evidence.take(np.array([0]))).value == 0


def test_sfda_with_one_item_a_class_is_certain_of_each(make_evidence):
    evidence = make_evidence(items=5, student=5)
    assert Sfda().estimate(evidence).value == 1.0
