"""The nodes nearest to a centre, with as many centres as there are nodes to pick (LLM-GNN)."""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import FloatArray, Graph
from llmlabel.graph.selectors import _clusters
from llmlabel.graph.selectors._scores import best

WHY = "among the nodes whose features are nearest to the centre of a small cluster"


def score(graph: Graph, budget: int, rng: np.random.Generator) -> FloatArray:
    return _clusters.density(graph.x, budget, rng)


select = best(score)
