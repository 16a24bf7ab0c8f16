"""RIM: again and again the node that activates the most new nodes by reliable influence.

A node activates those whose features after two hops it makes up, times its reliability, to more than a threshold. RIM updates
reliabilities by comparing labels; before annotation there are none, and the published code of LLM-GNN reads the true ones. Here
the reliability is a constant, the accuracy expected of the annotator; `da-rim` puts C-Density in its place.
Source: Zhang et al. 2021, RIM (arXiv 2110.14854); thresholds of LLM-GNN.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from llmlabel.graph.graph import FloatArray, Graph, IntArray

WHY = "has a strong influence on many nodes that no earlier pick reaches"
ACCURACY = 0.7
THRESHOLD = 0.05
BLOCK = 20_000_000  # products of two edges at a time, which bounds memory


def select(graph: Graph, budget: int, rng: np.random.Generator) -> IntArray:
    return by_influence(graph, budget, rng, np.full(graph.size, ACCURACY), THRESHOLD)


def by_influence(graph: Graph, budget: int, rng: np.random.Generator, reliability: FloatArray, threshold: float) -> IntArray:
    """Greedy picks by the number of nodes newly activated; ties, and picks after all is active, fall by chance.

    Args:
        reliability: (N,) in [0, 1]. threshold: of influence times reliability.
    """
    activated_by = activation(graph, reliability.astype(np.float32), threshold)
    activates = activated_by.T.tocsr()
    gain = np.where(graph.askable, np.diff(activates.indptr) + rng.random(graph.size), -np.inf)
    active = np.zeros(graph.size, bool)
    picks = np.zeros(min(budget, int(graph.askable.sum())), np.int64)
    for n in range(len(picks)):
        picks[n] = v = int(gain.argmax())
        reached = activates.indices[activates.indptr[v] : activates.indptr[v + 1]]
        fresh = reached[~active[reached]]
        active[fresh] = True
        np.subtract.at(gain, activated_by[fresh].indices, 1)
        gain[v] = -np.inf
    return picks


def activation(graph: Graph, reliability: FloatArray, threshold: float) -> sparse.csr_array:
    """(N, N) bool, row j column i: i's share of j's features after two hops of the random walk with self-loops, times i's
    reliability, is above the threshold."""
    loops = graph.adjacency + sparse.eye_array(graph.size, dtype=np.float32, format="csr")
    step = sparse.csr_array(sparse.diags_array((1 / (graph.degree + 1)).astype(np.float32)) @ loops)
    found = []
    for rows in blocks(step):
        near = (step[rows] @ step).tocoo()
        strong = near.data * reliability[near.col] > threshold
        cut = (np.ones(int(strong.sum()), bool), (near.row[strong], near.col[strong]))
        found.append(sparse.csr_array(cut, shape=near.shape))
    return sparse.csr_array(sparse.vstack(found, format="csr"))


def blocks(step: sparse.csr_array) -> Iterator[slice]:
    """Slices of rows whose part of the square needs about `BLOCK` products each."""
    length = np.diff(step.indptr)
    work = np.cumsum(np.add.reduceat(length[step.indices], step.indptr[:-1]).astype(np.int64))
    cuts = np.unique(np.r_[0, np.searchsorted(work, np.arange(BLOCK, int(work[-1]), BLOCK)), step.shape[0]])
    yield from (slice(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True))
