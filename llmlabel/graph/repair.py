"""Labels that local clustering would change: one-vs-rest, each class from its surest nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmlabel.graph.graph import FloatArray, IntArray
from llmlabel.graph.local_cluster import MASS, local_cluster, volume

SEEDS = 0.2  # share of a class's nodes its cluster starts from


@dataclass(frozen=True)
class Proposals:
    """Other labels for n nodes. `nodes`: (n,) ascending. `labels`: (n,) the class whose cluster alone claims the node."""

    nodes: IntArray
    labels: IntArray


def repair(
    adjacency: sparse.csr_array, labels: IntArray, confidence: FloatArray | None = None, *, below: float = 1.0,
    epsilon: float = 0.05, seed: int = 0,
) -> Proposals:  # fmt: skip
    """Nodes of one label that the cluster of another class claims, and no other cluster.

    Good where classes are communities, little use where they are not (bench/local_cluster.py): proposals to look at, not labels.

    Args:
        labels: (N,) class index, -1 where there is none. confidence: (N,) in [0, 1], NaN where unknown: a class starts from its
            surest nodes, and only nodes with less than `below`, or none, get proposals; None: from nodes drawn by chance.
    """
    sure = np.zeros(len(labels)) if confidence is None else np.nan_to_num(confidence, nan=0.0)
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(-sure[order], kind="stable")]
    degree = np.diff(adjacency.indptr)
    claims, claimed = np.zeros(len(labels), np.int64), np.full(len(labels), -1)
    for label in np.unique(labels[labels >= 0]):
        own = order[(labels[order] == label) & (degree[order] > 0)]
        if not len(own):
            continue
        said, seeds = labels == label, own[: max(1, round(SEEDS * len(own)))]
        mass = MASS * volume(adjacency, own, said, epsilon=epsilon)
        found = local_cluster(adjacency, seeds, said, mass=mass, epsilon=epsilon, sweep=True)
        claims[found.nodes] += 1
        claimed[found.nodes] = label
    nodes = np.flatnonzero((claims == 1) & (claimed != labels) & ((sure < below) | (labels < 0)))
    return Proposals(nodes, claimed[nodes])
