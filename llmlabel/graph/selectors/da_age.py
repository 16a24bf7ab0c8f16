"""AGE, difficulty-aware: a third each for the ranks of density, PageRank and C-Density (LLM-GNN, section 3.2)."""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import FloatArray, Graph
from llmlabel.graph.selectors import age
from llmlabel.graph.selectors._clusters import c_density
from llmlabel.graph.selectors._scores import best, percentile

WHY = "central in the graph, near the centre of a cluster of neighbourhoods, and with typical features"


def score(graph: Graph, budget: int, rng: np.random.Generator) -> FloatArray:
    return (2 * age.score(graph, budget, rng) + percentile(c_density(graph, rng))) / 3


select = best(score)
