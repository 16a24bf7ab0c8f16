"""Strategies that give every node a score and take the best."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from llmlabel.graph.graph import FloatArray, Graph, IntArray
from llmlabel.graph.selectors._clusters import c_density

Score = Callable[[Graph, int, np.random.Generator], FloatArray]
Select = Callable[[Graph, int, np.random.Generator], IntArray]


def percentile(values: FloatArray) -> FloatArray:
    """(N,) rank percentiles in (0, 1]: the largest is 1, equal values share a rank."""
    return np.asarray(rankdata(values) / max(len(values), 1))


def best(score: Score) -> Select:
    """The strategy that takes the nodes of highest score; ties fall by chance."""

    def select(graph: Graph, budget: int, rng: np.random.Generator) -> IntArray:
        rows = rng.permutation(np.flatnonzero(graph.askable))
        values = score(graph, budget, rng)[rows]
        return np.asarray(rows[np.argsort(-values, kind="stable")][:budget])

    return select


def aware(score: Score) -> Score:
    """The difficulty-aware form (DA-): the mean of the ranks of the score and of C-Density.

    An LLM is right more often about nodes near a cluster's centre; their share of the score, one half, is not tuned.
    Source: Chen et al. 2024, LLM-GNN (arXiv 2310.04668), section 3.2.
    """

    def both(graph: Graph, budget: int, rng: np.random.Generator) -> FloatArray:
        return (percentile(score(graph, budget, rng)) + percentile(c_density(graph, rng))) / 2

    return both
