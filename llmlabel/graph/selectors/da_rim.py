"""RIM, difficulty-aware: a node is as reliable as its C-Density says, from 0 for the least to 1 for the most typical."""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import Graph, IntArray
from llmlabel.graph.selectors._clusters import c_density
from llmlabel.graph.selectors.rim import by_influence

WHY = "has typical features and a strong influence on many nodes that no earlier pick reaches"
THRESHOLD = 0.15


def select(graph: Graph, budget: int, rng: np.random.Generator) -> IntArray:
    dense = c_density(graph, rng)
    span = float(np.ptp(dense))
    reliability = (dense - dense.min()) / span if span > 0 else np.ones(graph.size)
    return by_influence(graph, budget, rng, reliability, THRESHOLD)
