"""GraphPart: communities, each with the same share of the budget, and inside each the middles of its clusters.

Communities are Louvain's, packed into at most seven parts of about the same size; inside a part as FeatProp.
Source: Ma et al. 2022 (arXiv 2201.09391), with the parts of LLM-GNN.
"""

from __future__ import annotations

import heapq

import numpy as np
from scipy import sparse

from llmlabel.graph.graph import FloatArray, Graph, IntArray
from llmlabel.graph.selectors._clusters import in_turn, kmeans

WHY = "in the middle of a cluster of like neighbourhoods in its part of the graph"
PARTS = 7


def select(graph: Graph, budget: int, rng: np.random.Generator) -> IntArray:
    return in_parts(graph, budget, rng, np.zeros(graph.size))


def in_parts(graph: Graph, budget: int, rng: np.random.Generator, easy: FloatArray) -> IntArray:
    """Parts take turns; a part offers its clusters' best nodes, the largest cluster first.

    Args:
        easy: (N,) what is added to minus the distance to the centre, as a share of the distances' range in the part.
    """
    part, turn = parts(graph), np.zeros(graph.size)
    count = int(part.max()) + 1
    for p in range(count):
        rows = np.flatnonzero(part == p)
        group, distance = kmeans(graph.aax[rows], -(-budget // count), rng)
        order = in_turn(group, distance / max(distance.max(), 1e-12) - easy[rows], graph.askable[rows])
        turn[rows[order]] = np.arange(len(order))
    return in_turn(part, turn, graph.askable)[:budget]


def parts(graph: Graph) -> IntArray:
    """(N,) the part of each node: communities, the largest first, each put to what is then the smallest part."""
    community = communities(graph)
    size = np.bincount(community)
    heap = [(0, p) for p in range(min(PARTS, len(size)))]
    of = np.zeros(len(size), np.int64)
    for c in np.argsort(-size, kind="stable"):
        held, of[c] = heapq.heappop(heap)
        heapq.heappush(heap, (held + int(size[c]), int(of[c])))
    return of[community]


def communities(graph: Graph) -> IntArray:
    """(N,) Louvain's communities; an isolated node is its own."""
    from sknetwork.clustering import Louvain

    if not graph.adjacency.nnz:
        return np.arange(graph.size)
    matrix = sparse.csr_matrix(graph.adjacency, dtype=np.float64)  # the library rounds other types to whole numbers
    found = Louvain(return_probs=False, return_aggregate=False).fit_predict(matrix)
    return np.asarray(found, np.int64)
