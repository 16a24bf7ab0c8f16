"""GraphPart, difficulty-aware: inside a cluster the rank of C-Density counts as much as nearness to its centre."""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import Graph, IntArray
from llmlabel.graph.selectors._clusters import c_density
from llmlabel.graph.selectors._scores import percentile
from llmlabel.graph.selectors.graph_part import in_parts

WHY = "near the middle of a cluster in its part of the graph, and with typical features, which an LLM tends to label well"


def select(graph: Graph, budget: int, rng: np.random.Generator) -> IntArray:
    return in_parts(graph, budget, rng, percentile(c_density(graph, rng)))
