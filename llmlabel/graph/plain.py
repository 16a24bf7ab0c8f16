"""The baseline every graph run is compared with: two hops of propagation and a logistic regression, nothing else."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from llmlabel.graph.graph import Annotated, FloatArray, Graph

HOPS = 2


def plain(graph: Graph, annotated: Annotated, x: FloatArray | None = None) -> FloatArray:
    """(N, L) probabilities from all annotations, none dropped, none weighted: each hop takes the mean of a node and its
    neighbours, and scikit-learn's logistic regression is as it comes.

    Args:
        x: (N, F) features as they were given; None: those of the graph, whose rows have length 1.
    """
    from sklearn.linear_model import LogisticRegression

    probs = np.zeros((graph.size, len(annotated.classes)))
    there = np.unique(annotated.labels)
    if len(there) == 1:
        probs[:, there] = 1.0
        return probs
    z = graph.x if x is None else x
    mean = sparse.diags_array((1 / (graph.degree + 1)).astype(np.float32))
    for _ in range(HOPS):
        z = mean @ (graph.adjacency @ z + z)
    model = LogisticRegression(max_iter=1000).fit(z[annotated.nodes], annotated.labels)
    probs[:, model.classes_] = model.predict_proba(z)
    return probs
