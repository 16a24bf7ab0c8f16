"""One cluster around seeds, where labels that may be wrong say what belongs to it: label-weighted flow diffusion.

Source: Back de Luca, Fountoulakis, Yang, Local Graph Clustering with Noisy Labels, ICLR 2024 (arXiv 2310.08031).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg

from llmlabel.errors import ConfigError
from llmlabel.graph.graph import BoolArray, FloatArray, IntArray

Labels = BoolArray | Callable[[IntArray], BoolArray]
TOLERANCE = 1e-6  # of the mass a node may hold above its sink


@dataclass(frozen=True)
class Cluster:
    """What one diffusion found.

    Args:
        reached: (R,) nodes that mass settled on, highest first. x: (R,) how high it stands there. size: how many of them, from the
            first, are the cluster.
        conductance: weight of the edges that leave the cluster over that of all its edges (label-weighted), in [0, 1].
        touched: nodes looked at. work: edges gone over, as often as it happened.
    """

    reached: IntArray
    x: FloatArray
    size: int
    conductance: float
    touched: int
    work: int

    @property
    def nodes(self) -> IntArray:
        """(S,) the cluster."""
        return self.reached[: self.size]


def local_cluster(
    adjacency: sparse.csr_array, seeds: Sequence[int] | IntArray, labels: Labels | None = None, *,
    mass: float, epsilon: float = 0.05, sweep: bool = True,
) -> Cluster:  # fmt: skip
    """The cluster of the seeds. The work depends on `mass`, never on the size of the graph.

    Minimises 1/2 x' L x - x' (source - sink) over x >= 0: `mass` is laid on the seeds, every node holds as much as its degree, and
    what is above that flows on. An edge whose ends differ in label lets `epsilon` of it through. Mass that a whole component
    cannot hold is dropped.

    Args:
        adjacency: (N, N) CSR, symmetric, weights above 0. labels: (N,) True where a node is said to belong, or a function of (n,)
            nodes that says so when asked; None: all edges as they are.
        mass: in units of edge weight; twice the volume (sum of degrees) of the cluster that is expected.
        epsilon: in (0, 1]; the paper finds 0.01 to 0.1 to do equally well.
        sweep: cut where the conductance is lowest; else all nodes that mass settled on.
    Raises: ConfigError.
    """
    seeds = np.unique(np.asarray(seeds, dtype=np.int64))
    if not len(seeds) or seeds[0] < 0 or seeds[-1] >= adjacency.shape[0]:
        raise ConfigError(f"seeds {seeds[:5].tolist()}: give one or more nodes from 0 to {adjacency.shape[0] - 1}")
    if not mass > 0 or not 0 < epsilon <= 1:
        raise ConfigError(f"mass {mass}, epsilon {epsilon}: mass must be above 0, epsilon above 0 and at most 1")
    region = _Region(adjacency, labels, epsilon)
    x = _settled(region, seeds, mass)
    order = np.lexsort((region.nodes, -x))
    order = order[x[order] > 0] if (x > 0).any() else order[np.isin(region.nodes[order], seeds)]
    size, conductance = _cut(region, order, sweep)
    return Cluster(region.nodes[order], x[order], size, conductance, len(region.touched), region.work)
