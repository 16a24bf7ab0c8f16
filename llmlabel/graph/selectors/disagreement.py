"""For later rounds: where the predictions are unsure or at odds with their neighbourhood, spread over the graph.

Uncertainty is the entropy of a node's prediction plus its label disharmonicity, the distance from the mean prediction of its
neighbours (Locle: Zhang et al. 2025, arXiv 2412.11983). As in `stratified`, clusters of propagated features share the picks and
offer their most typical nodes; but a cluster counts by the uncertainty in it, less the nodes annotated there already. Taking the
most uncertain nodes themselves collects the ones an annotator gets wrong.
"""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import FloatArray, Graph, IntArray
from llmlabel.graph.selectors._clusters import in_proportion, neighbourhoods

WHY = "typical of a cluster where predictions are unsure or differ from their neighbours'"


def select(
    graph: Graph, budget: int, rng: np.random.Generator, *, probs: FloatArray | None = None, taken: IntArray | None = None
) -> IntArray:
    """As every strategy; without `probs`, as `stratified` beside what was taken.

    Args:
        probs: (N, L) current predictions. taken: (n,) rows annotated already; not asked again.
    """
    askable = graph.askable.copy()
    if taken is not None:
        askable[taken] = False
    group, distance = neighbourhoods(graph, budget, rng)
    unsure = None if probs is None else uncertainty(graph, probs)
    return in_proportion(group, distance, askable, unsure, taken)[:budget]


def uncertainty(graph: Graph, probs: FloatArray) -> FloatArray:
    """(N,) in [0, 2]: entropy over its maximum, plus total variation distance from the neighbours' mean."""
    entropy = -np.sum(probs * np.log(np.maximum(probs, 1e-12)), axis=1) / np.log(max(probs.shape[1], 2))
    return np.asarray(entropy + np.abs(probs - graph.walk @ probs).sum(axis=1) / 2)
