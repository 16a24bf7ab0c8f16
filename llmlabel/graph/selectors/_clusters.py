"""k-means that stays feasible for millions of nodes, and picks spread over groups."""

from __future__ import annotations

import warnings

import numpy as np

from llmlabel.graph.features import unit
from llmlabel.graph.graph import BoolArray, FloatArray, Graph, IntArray

SAMPLE = 20_000  # rows the centres are fitted on, more where clusters would hold fewer than 20 of them
MOST_CLUSTERS = 2_000


def kmeans(x: FloatArray, k: int, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """Clusters of the rows of `x`: (N,) the number of each row's, (N,) its distance to the centre.

    The centres come from a sample of the rows; there are at most `MOST_CLUSTERS`, and fewer where rows are. Rows without
    features are one cluster.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import pairwise_distances_argmin_min

    if not x.size:
        return np.zeros(len(x), np.int64), np.zeros(len(x))
    k = max(1, min(k, len(x), MOST_CLUSTERS))
    most = max(SAMPLE, 20 * k)
    sample = x[np.sort(rng.choice(len(x), most, replace=False))] if len(x) > most else x
    fit = KMeans(k, n_init=1, max_iter=50, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters: some stay empty
        centres = fit.fit(sample).cluster_centers_
    group, distance = pairwise_distances_argmin_min(x, centres)
    return np.asarray(group, np.int64), np.asarray(distance, np.float64)


def density(x: FloatArray, k: int, rng: np.random.Generator) -> FloatArray:
    """(N,) 1 / (1 + distance to the nearest of k centres), in (0, 1]."""
    return np.asarray(1 / (1 + kmeans(x, k, rng)[1]))


def c_density(graph: Graph, rng: np.random.Generator) -> FloatArray:
    """(N,) density of the features with as many centres as classes: how easy a node is to annotate (LLM-GNN, section 3.2)."""
    return density(graph.x, graph.classes, rng)


def neighbourhoods(graph: Graph, k: int, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """`kmeans` of (D^-1 A)^2 X with rows of unit length."""
    return kmeans(unit(graph.aax), k, rng)


def in_turn(group: IntArray, cost: FloatArray, askable: BoolArray) -> IntArray:
    """Askable rows so that groups take turns: the cheapest row of each, the largest group first, then their second, and so on.

    Args:
        group: (N,) from 0. cost: (N,).
    """
    rows, turn = turns(group, cost, askable)
    size = np.bincount(group)
    return np.asarray(rows[np.lexsort((group[rows], -size[group[rows]], turn))])


def in_proportion(
    group: IntArray, cost: FloatArray, askable: BoolArray, weight: FloatArray | None = None, taken: IntArray | None = None
) -> IntArray:
    """Askable rows, cheapest first in each group, so that the first B of them, for any B, are shared out by the groups' weights.

    Webster's method: a group of weight w has its k-th turn at (k - 1/2) / w.

    Args:
        group: (N,) from 0. cost: (N,). weight: (N,) at least 0, summed over a group; None: 1. taken: (n,) rows picked before,
            each a turn its group had.
    """
    share = np.maximum(np.bincount(group, weights=weight), 1e-12)
    rows, turn = turns(group, cost, askable)
    if taken is not None:
        turn += np.bincount(group[taken], minlength=len(share))[group[rows]]
    return np.asarray(rows[np.argsort((turn + 0.5) / share[group[rows]], kind="stable")])


def turns(group: IntArray, cost: FloatArray, askable: BoolArray) -> tuple[IntArray, IntArray]:
    """Askable rows by group and cost, and the place of each in its group, from 0."""
    rows = np.flatnonzero(askable)
    rows = rows[np.lexsort((cost[rows], group[rows]))]
    start = np.cumsum(np.r_[0, np.bincount(group[rows], minlength=int(group.max(initial=-1)) + 1)])
    return rows, np.arange(len(rows)) - start[group[rows]]
