"""FeatProp: the middle of each of as many clusters of propagated features as there are nodes to pick.

k-means on (D^-1 A)^2 X and the node nearest to each centre, where the paper takes k-medoids, whose distances between all pairs
of nodes do not fit a large graph. The largest cluster comes first.
Source: Wu et al. 2019 (arXiv 1910.07567).
"""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import Graph, IntArray
from llmlabel.graph.selectors._clusters import in_turn, kmeans

WHY = "in the middle of a cluster of like neighbourhoods"


def select(graph: Graph, budget: int, rng: np.random.Generator) -> IntArray:
    group, distance = kmeans(graph.aax, budget, rng)
    return in_turn(group, distance, graph.askable)[:budget]
