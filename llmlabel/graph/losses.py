"""Losses for labels of which some are wrong, and the weights of annotations.

Each loss takes (n, L) logits, (n, L) target distributions and (n,) weights, and gives the weighted mean over nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmlabel.graph.graph import FloatArray

Q = 0.7  # of Zhang and Sabuncu
SCE_ALPHA, SCE_BETA, LOG_ZERO = 0.1, 1.0, -4.0  # of Wang et al., for CIFAR-10
ANCHOR = 0.97  # quantile of Patrini et al.
FLOOR = 0.1


def balanced(targets: FloatArray, weights: FloatArray) -> FloatArray:
    """(n,) weights under which all classes that occur have the same mass; they sum to n. (n, L) targets, (n,) weights."""
    mass = weights @ targets
    per_class = np.where(mass > 0, 1 / np.maximum(mass, 1e-12), 0.0)
    found = weights * (targets @ per_class)
    return np.asarray(found * len(found) / found.sum())


def confidence_weights(confidence: FloatArray) -> FloatArray:
    """(n,) in [0.1, 1]: stated confidence from its smallest to its largest value (LLM-GNN, arXiv 2310.04668, with a floor: its
    least confident annotation counted for nothing). Where none was told: the mean of the others; where all are the same: 1."""
    known = np.isfinite(confidence)
    if not known.any() or np.ptp(confidence[known]) == 0:
        return np.ones(len(confidence))
    low, high = confidence[known].min(), confidence[known].max()
    found = FLOOR + (1 - FLOOR) * (confidence - low) / (high - low)
    return np.asarray(np.where(known, found, found[known].mean()))


def cross_entropy(logits: Any, targets: Any, weights: Any) -> Any:
    """Cross-entropy."""
    return _mean(-(targets * logits.log_softmax(dim=1)).sum(dim=1), weights)


def generalised_cross_entropy(logits: Any, targets: Any, weights: Any, q: float = Q) -> Any:
    """(1 - p^q) / q: between cross-entropy (q -> 0) and mean absolute error (q = 1).

    Source: Zhang and Sabuncu 2018, arXiv 1805.07836.
    """
    p = logits.softmax(dim=1).clamp_min(1e-7)
    return _mean((targets * (1 - p**q) / q).sum(dim=1), weights)


def symmetric_cross_entropy(logits: Any, targets: Any, weights: Any) -> Any:
    """Cross-entropy plus reverse cross-entropy, in which the logarithm of 0 is -4.

    Source: Wang et al. 2019, arXiv 1908.06112.
    """
    logs = targets.clamp_min(1e-12).log().clamp_min(LOG_ZERO)
    reverse = _mean(-(logits.softmax(dim=1) * logs).sum(dim=1), weights)
    return SCE_ALPHA * cross_entropy(logits, targets, weights) + SCE_BETA * reverse


def forward_correction(logits: Any, targets: Any, weights: Any, noise: Any) -> Any:
    """Cross-entropy of what the annotator would have said, given the noise.

    Args:
        noise: (L, L) P(annotation j | true class i), rows sum to 1.
    Source: Patrini et al. 2017, arXiv 1609.03683.
    """
    return _mean(-(targets * (logits.softmax(dim=1) @ noise).clamp_min(1e-7).log()).sum(dim=1), weights)


def transition(probs: FloatArray) -> FloatArray:
    """(L, L) noise read from a model's own (N, L) probabilities: row i is its answer for the node most clearly of class i,
    the one at the 97th percentile of that probability (Patrini et al. 2017)."""
    order = np.argsort(probs, axis=0, kind="stable")
    anchors = order[min(len(probs) - 1, int(ANCHOR * len(probs)))]
    return np.asarray(probs[anchors])


def _mean(each: Any, weights: Any) -> Any:
    return (weights * each).sum() / weights.sum()


LOSSES = {"ce": cross_entropy, "gce": generalised_cross_entropy, "sce": symmetric_cross_entropy}
