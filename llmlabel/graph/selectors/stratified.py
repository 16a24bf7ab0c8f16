"""A stratified sample of typical nodes: clusters get picks in proportion to their size, each its nodes nearest to the centre.

As many clusters as picks, of (D^-1 A)^2 X at unit length. FeatProp takes one node of every cluster, so that the outlying
ones weigh as much as the large; here large clusters get several picks and those below half the mean size none, which keeps the
shares of the classes, and leaves out nodes an annotator tends to get wrong.
Source: proportional allocation (Neyman 1934) over the clusters of FeatProp (Wu et al. 2019, arXiv 1910.07567).
"""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import Graph, IntArray
from llmlabel.graph.selectors._clusters import in_proportion, neighbourhoods

WHY = "typical of a cluster of like neighbourhoods, where clusters have picks in proportion to their size"


def select(graph: Graph, budget: int, rng: np.random.Generator) -> IntArray:
    group, distance = neighbourhoods(graph, budget, rng)
    return in_proportion(group, distance, graph.askable)[:budget]
