"""The nodes with the most (or heaviest) edges."""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import FloatArray, Graph
from llmlabel.graph.selectors._scores import best

WHY = "among the nodes with the most neighbours"


def score(graph: Graph, budget: int, rng: np.random.Generator) -> FloatArray:
    return graph.degree


select = best(score)
