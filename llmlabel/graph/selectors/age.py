"""AGE in one shot: dense in propagated features and central in the graph.

Half the rank of the density of (D^-1 A)^2 X with one cluster per pick, half the rank of PageRank. The third part of AGE, the
uncertainty of a model, does not exist before there are labels.
Source: Cai et al. 2017 (arXiv 1705.05085), as LLM-GNN uses it.
"""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import FloatArray, Graph
from llmlabel.graph.selectors import _clusters, pagerank
from llmlabel.graph.selectors._scores import best, percentile

WHY = "central in the graph and near the centre of a cluster of neighbourhoods"


def score(graph: Graph, budget: int, rng: np.random.Generator) -> FloatArray:
    dense = _clusters.density(graph.aax, budget, rng)
    return (percentile(dense) + percentile(pagerank.pagerank(graph))) / 2


select = best(score)
