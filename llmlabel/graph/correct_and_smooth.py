"""Correct and Smooth: any learner's answers, corrected by its errors and smoothed over the graph, without torch.

It trusts the annotations twice: the correction spreads what the learner did not follow, and smoothing sets annotated nodes to
their labels. With wrong labels both can hurt. Source: Huang et al. 2021, arXiv 2010.13993; gives what torch-geometric's
`CorrectAndSmooth` gives.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from llmlabel.graph.gnns import Learner
from llmlabel.graph.graph import FloatArray, Graph, IntArray

LARGEST_SCALE = 1000


def correct_and_smooth(
    graph: Graph, probs: FloatArray, nodes: IntArray, targets: FloatArray, *,
    correct: float = 0.8, smooth: float = 0.8, steps: int = 50,
) -> FloatArray:  # fmt: skip
    """(N, L) probabilities, rows sum to 1.

    Args:
        probs: (N, L) of a learner. nodes, targets: (n,), (n, L) what annotated nodes were annotated as.
        correct, smooth: how far errors and labels spread; 0 leaves out the step.
    """
    s = graph.symmetric(np.float64)
    found: FloatArray = np.asarray(probs, dtype=np.float64)
    if correct:
        found = corrected(s, found, nodes, targets, correct, steps)
    if smooth:
        found = smoothed(s, found, nodes, targets, smooth, steps)
    found = np.clip(found, 1e-9, None)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def corrected(
    s: sparse.csr_array, probs: FloatArray, nodes: IntArray, targets: FloatArray, alpha: float, steps: int
) -> FloatArray:
    """(N, L) scores: errors spread over the graph, each node's at the mean length of those known."""
    error = np.zeros_like(probs)
    error[nodes] = targets - probs[nodes]
    spread = _spread(s, error, alpha, steps, -1.0)
    with np.errstate(divide="ignore"):
        scale = np.abs(error[nodes]).sum() / len(nodes) / np.abs(spread).sum(axis=1, keepdims=True)
    scale[~np.isfinite(scale) | (scale > LARGEST_SCALE)] = 1.0
    return np.asarray(probs + scale * spread)


def smoothed(
    s: sparse.csr_array, scores: FloatArray, nodes: IntArray, targets: FloatArray, alpha: float, steps: int
) -> FloatArray:
    """(N, L) scores: annotated nodes set to their labels, everything spread over the graph."""
    first = scores.copy()
    first[nodes] = targets
    return _spread(s, first, alpha, steps, 0.0)


def _spread(s: sparse.csr_array, first: FloatArray, alpha: float, steps: int, low: float) -> FloatArray:
    found = first
    for _ in range(steps):
        found = np.clip(alpha * (s @ found) + (1 - alpha) * first, low, 1.0)
    return np.asarray(found)


def smoothing(learner: Learner) -> Learner:
    """A learner whose answers are corrected and smoothed."""

    def fit_predict(graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int) -> FloatArray:
        used = weights > 0
        return correct_and_smooth(graph, learner(graph, nodes, targets, weights, seed=seed), nodes[used], targets[used])

    return fit_predict
