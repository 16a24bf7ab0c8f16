"""A greedy vertex cover: again and again the node with the most edges that no pick has covered yet."""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import Graph, IntArray

WHY = "has many edges that no earlier pick covers"


def select(graph: Graph, budget: int, rng: np.random.Generator) -> IntArray:
    a = graph.adjacency
    tie = rng.random(graph.size) * 1e-6
    gain = np.where(graph.askable, graph.degree + tie, -np.inf)
    picks = np.zeros(min(budget, int(graph.askable.sum())), np.int64)
    for n in range(len(picks)):
        picks[n] = v = int(gain.argmax())
        edges = slice(a.indptr[v], a.indptr[v + 1])
        gain[a.indices[edges]] -= a.data[edges]
        gain[v] = -np.inf
    return picks
