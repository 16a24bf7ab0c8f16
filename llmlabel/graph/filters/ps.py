"""LLM-GNN's post-filter: drop what is least confident and least needed for the diversity of labels.

Source: Chen et al. 2024 (arXiv 2310.04668), section 3.4. Entropy is that of the annotations, confidence is never overwritten.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import entropy, rankdata

from llmlabel.graph.filters import _dropping
from llmlabel.graph.graph import Annotated, BoolArray, FloatArray, Graph, IntArray

WHY = "the least confident ones of classes that have many"


def keep(graph: Graph, annotated: Annotated, share: float) -> BoolArray:
    """(n,) bool. One by one the smallest f = r(confidence) + r(COE) goes, ranks and COE taken anew among those that stay.

    COE(v) = H(labels without v) - H(labels); a small one means that v is needed, and ranks high. At a tie the less confident
    goes, then the later one. Where not every node has a stated confidence, the label-free reliability stands in for all.
    """
    sure, stay = _dropping.confidence(graph, annotated), np.ones(len(annotated.nodes), bool)
    for _ in range(_dropping.how_many(annotated, share)):
        rows = np.flatnonzero(stay)
        labels = annotated.labels[rows]
        count = np.bincount(labels, minlength=len(annotated.classes))
        f = _rank(sure[rows]) + _rank(-np.round(change_of_entropy(count), 12)[labels])
        f[count[labels] == 1] = np.inf
        first = np.lexsort((-rows, sure[rows], f))[0]
        if np.isinf(f[first]):
            break
        stay[rows[first]] = False
    return stay


def change_of_entropy(count: IntArray) -> FloatArray:
    """(L,) by how much the entropy of the labels changes when one of each class goes, nats; 0 for a class without any.

    Args:
        count: (L,) annotations of each class, two at least in all.
    """
    found = np.zeros(len(count))
    for k in np.flatnonzero(count):
        found[k] = entropy(count - np.eye(len(count))[k]) - entropy(count)
    return found


def _rank(values: FloatArray) -> FloatArray:
    """Rank percentile, the largest 1; equal values share theirs."""
    return np.asarray(rankdata(values) / len(values))
