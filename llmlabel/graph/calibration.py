"""Confidence for every node without a gold label, and who is better left without a label.

Out of fold, a learner answers for annotated nodes it was not trained on. Agreement with a label that may be wrong is not
accuracy, so a temperature fitted to the annotations makes confidence mean "the LLM would say the same". `calibrated` sets the
temperature so that the mean confidence is an estimate of accuracy instead (`accuracy.estimate`); it is as far off as that is.
"""

from __future__ import annotations

import numpy as np

from llmlabel.errors import DataError
from llmlabel.graph.gnns import Learner
from llmlabel.graph.graph import BoolArray, FloatArray, Graph, IntArray

FOLDS = 5
COLDEST, HOTTEST = 0.02, 50.0  # temperatures
TINY = 1e-12


def out_of_fold(
    graph: Graph,
    nodes: IntArray,
    targets: FloatArray,
    weights: FloatArray,
    fit_predict: Learner,
    *,
    seed: int,
    folds: int = FOLDS,
) -> FloatArray:
    """(n, L) probabilities of each annotated node from a learner that did not see its annotation.

    Nodes are dealt to folds class by class, so that a class loses as few of its annotations at a time as can be. A weight of 0
    keeps a node out of all trainings; it is answered for all the same.
    Raises: DataError for fewer than two annotated nodes with a weight.
    """
    if np.count_nonzero(weights) < 2:
        raise DataError("cross-fitting needs two annotated nodes")
    fold = dealt(targets.argmax(axis=1), weights > 0, min(folds, int(np.count_nonzero(weights))), seed)
    found = np.zeros(targets.shape)
    for k in range(fold.max() + 1):
        out = fold == k
        found[out] = fit_predict(graph, nodes[~out], targets[~out], weights[~out], seed=seed)[nodes[out]]
    return found


def dealt(labels: IntArray, first: BoolArray, folds: int, seed: int) -> IntArray:
    """(n,) fold of each node: nodes in random order, those with `first` (n,) True before the others, label by label, go round."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.lexsort((labels[order], ~first[order]))]
    found = np.empty(len(labels), dtype=np.int64)
    found[order] = np.arange(len(labels)) % folds
    return found


def scaled(probs: FloatArray, temperature: float) -> FloatArray:
    """(N, L) probabilities to the power 1 / temperature, rows sum to 1 (Guo et al. 2017, arXiv 1706.04599)."""
    logs = np.log(np.maximum(probs, TINY)) / temperature
    found = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def temperature(probs: FloatArray, targets: FloatArray, weights: FloatArray) -> float:
    """The temperature under which (n, L) out-of-fold probabilities have the least cross-entropy with (n, L) annotations."""
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        logs = np.log(np.maximum(scaled(probs, float(np.exp(log_t))), TINY))
        return float(-weights @ (targets * logs).sum(axis=1))

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded").x))


def calibrated(probs: FloatArray, accuracy: float, rows: BoolArray | None = None) -> FloatArray:
    """(N, L) probabilities at the temperature where the mean confidence of `rows` is `accuracy`, or as near as one gets.

    Args:
        rows: (N,) the nodes that the accuracy is of, such as those not annotated; None: all.
    """
    from scipy.optimize import brentq

    some = probs if rows is None or not rows.any() else probs[rows]

    def gap(log_t: float) -> float:
        return float(scaled(some, float(np.exp(log_t))).max(axis=1).mean()) - accuracy

    cold, hot = float(np.log(COLDEST)), float(np.log(HOTTEST))
    found = cold if gap(cold) <= 0 else hot if gap(hot) >= 0 else float(brentq(gap, cold, hot, xtol=1e-4))
    return scaled(probs, float(np.exp(found)))


def threshold(confidence: FloatArray, target: float) -> float:
    """The lowest confidence at which the nodes at or above it are right with mean probability `target`; above 1 where none are.

    Args:
        confidence: (N,) calibrated. Nodes below the threshold are those to abstain on.
    """
    order = np.sort(confidence)[::-1]
    last = np.flatnonzero(np.r_[order[1:] != order[:-1], True])  # all nodes of one confidence stand or fall together
    mean = np.cumsum(order)[last] / (last + 1)
    good = np.flatnonzero(mean >= target - TINY)
    return float(order[last[good[-1]]]) if len(good) else float(np.nextafter(1.0, 2.0))
