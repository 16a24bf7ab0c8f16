"""Annotations spread along edges; features are not looked at.

Source: Zhou et al. 2004, Learning with local and global consistency: F <- a S F + (1 - a) Y, S = D^-1/2 A D^-1/2. An annotated
node keeps only part of its own label, so that its neighbours can outvote a wrong one. Classes weigh the same.
"""

from __future__ import annotations

import numpy as np

from llmlabel.graph.graph import FloatArray, Graph, IntArray

RANDOM = False
LOSSES = ("ce",)
ALPHA, STEPS = 0.9, 50
PRIOR = 1e-3  # of the largest mass; where little or nothing arrives, the classes' shares decide


def fit_predict(
    graph: Graph, nodes: IntArray, targets: FloatArray, weights: FloatArray, *, seed: int, loss: str = "ce"
) -> FloatArray:
    """(N, L) probabilities; see `Learner`. Nodes no annotation reaches get the shares of the annotations."""
    mass = weights[:, None] * targets
    per_class = mass.sum(axis=0)
    first = np.zeros((graph.size, targets.shape[1]), np.float32)
    np.add.at(first, nodes, mass / np.maximum(per_class, 1e-12))
    s = graph.symmetric()
    f = first
    for _ in range(STEPS):
        f = ALPHA * (s @ f) + (1 - ALPHA) * first
    f = f.astype(np.float64) + PRIOR * f.max() * per_class / per_class.sum()
    return np.asarray(f / f.sum(axis=1, keepdims=True))
