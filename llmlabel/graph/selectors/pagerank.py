"""The nodes a random walk visits most (Page et al. 1999)."""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import FloatArray, Graph
from llmlabel.graph.selectors._scores import best

WHY = "among the nodes a random walk visits most"


def score(graph: Graph, budget: int, rng: np.random.Generator) -> FloatArray:
    return pagerank(graph)


def pagerank(graph: Graph, damping: float = 0.85, tolerance: float = 1e-6, steps: int = 100) -> FloatArray:
    """(N,) float32, sum 1: power iteration until the change is below `tolerance` (sum of absolutes).

    A walk that stands on an isolated node starts anew anywhere. In float32 on the adjacency itself, so that no second matrix
    of a large graph is made.
    """
    n, alone = graph.size, graph.degree == 0
    share = np.where(alone, 0, 1 / np.maximum(graph.degree, 1e-12)).astype(np.float32)
    rank = np.full(n, 1 / n, np.float32)
    for _ in range(steps):
        anywhere = (1 - damping + damping * float(rank[alone].sum())) / n
        after = np.float32(damping) * (graph.adjacency @ (rank * share)) + np.float32(anywhere)
        after /= after.sum()
        change, rank = float(np.abs(after - rank).sum()), after
        if change < tolerance:
            break
    return np.asarray(rank)


select = best(score)
