"""The nodes nearest to a centre, with as many centres as there are classes: the easy ones (LLM-GNN, section 3.2)."""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import FloatArray, Graph
from llmlabel.graph.selectors import _clusters
from llmlabel.graph.selectors._scores import best

WHY = "among the nodes with the most typical features, which an LLM tends to label well"


def score(graph: Graph, budget: int, rng: np.random.Generator) -> FloatArray:
    return _clusters.c_density(graph, rng)


select = best(score)
