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
MASS = 1.5  # volumes of the cluster that is expected, where nothing else is said
SLACK = 1e-6  # share of its sink by which a node may be over it
EXACT = 1e-9  # relative residual of each solution


@dataclass(frozen=True)
class Cluster:
    """What one diffusion found.

    Args:
        reached: (R,) nodes that filled up, highest first. x: (R,) how high the mass stands there. size: how many of them are the
            cluster, from the first.
        conductance: weight of the edges that leave the cluster over that of all its edges (label-weighted), in [0, 1].
        touched: sum of the degrees of all nodes that were looked at. work: edges gone over, as often as that happened.
    """

    reached: IntArray
    x: FloatArray
    size: int
    conductance: float
    touched: int
    work: int

    @property
    def nodes(self) -> IntArray:
        """(size,) the cluster."""
        return self.reached[: self.size]


def local_cluster(
    adjacency: sparse.csr_array, seeds: Sequence[int] | IntArray, labels: Labels | None = None, *,
    mass: float, epsilon: float = 0.05, sweep: bool = False,
) -> Cluster:  # fmt: skip
    """The cluster of the seeds. What it costs grows with `mass`, not with the graph.

    Minimises 1/2 x' L x - x' (source - sink) over x >= 0: `mass` is laid on the seeds by degree, every node holds as much as its
    degree, and what is above that flows on. An edge whose ends differ in label counts only `epsilon` of its weight, in L and in
    degrees. Mass above what a whole component holds is dropped.

    Args:
        adjacency: (N, N) CSR, symmetric, weights above 0, no self-loops.
        labels: (N,) True where a node is said to belong, or a function that says it of (n,) nodes; None: edges as they are.
        mass: 1 to 2 times the `volume` of the cluster that is expected. No more than the seeds hold: just them.
        epsilon: in (0, 1]; the paper finds little difference from 0.01 to 0.1.
        sweep: cut where the conductance is lowest, for clusters that stand apart; else every node that filled up.
    Raises: ConfigError.
    """
    seeds = np.unique(np.asarray(seeds, dtype=np.int64))
    if not len(seeds) or seeds[0] < 0 or seeds[-1] >= adjacency.shape[0]:
        raise ConfigError(f"seeds {seeds[:5].tolist()}: give one or more nodes, numbered 0 to {adjacency.shape[0] - 1}")
    if not 0 < mass < np.inf or not 0 < epsilon <= 1:
        raise ConfigError(f"mass {mass}, epsilon {epsilon}: mass must be above 0, epsilon above 0 and at most 1")
    region = _Region(adjacency, labels, epsilon, seeds)
    _diffuse(region, mass)
    order = np.lexsort((region.ids[region.full], -region.x[region.full]))
    local = region.full[order]
    conductances = _conductances(region, local)
    size = int(conductances.argmin()) + 1 if sweep else len(local)
    return Cluster(region.ids[local], region.x[local], size, float(conductances[size - 1]), region.touched, region.work)


def volume(adjacency: sparse.csr_array, nodes: IntArray, labels: Labels | None = None, *, epsilon: float = 0.05) -> float:
    """Sum of the label-weighted degrees of some nodes: what they can hold."""
    return float(_Region(adjacency, labels, epsilon, np.zeros(0, np.int64)).edges(np.asarray(nodes, dtype=np.int64))[2].sum())


class _Region:
    """The part of the graph that was looked at, renumbered: K nodes, of which the `full` ones have their edges here.

    Attributes:
        ids: (K,) their numbers in the graph. sink: (K,) their label-weighted degrees. x: (K,). full: (R,) which are full.
        row, column, weight: (M,) label-weighted edges of the full nodes.
    """

    def __init__(self, adjacency: sparse.csr_array, labels: Labels | None, epsilon: float, seeds: IntArray) -> None:
        self.adjacency, self.epsilon = adjacency, epsilon
        self.labels = labels if callable(labels) or labels is None else labels.__getitem__
        self.place: dict[int, int] = {}
        self.ids, self.full, self.row, self.column = (np.zeros(0, np.int64) for _ in range(4))
        self.sink, self.x, self.weight = (np.zeros(0) for _ in range(3))
        self.touched = self.work = 0
        self._meet(seeds)
        self.fill(np.arange(len(seeds)))

    def fill(self, new: IntArray) -> None:
        """Make these nodes full: keep their edges, and meet their neighbours."""
        counts, ends, weight = self.edges(self.ids[new])
        self._meet(np.unique(ends))
        column = np.fromiter(map(self.place.__getitem__, ends.tolist()), np.int64, len(ends))
        self.full, self.row = np.r_[self.full, new], np.r_[self.row, np.repeat(new, counts)]
        self.column, self.weight = np.r_[self.column, column], np.r_[self.weight, weight]

    def went_over(self, edges: int) -> None:
        self.work += edges

    def _meet(self, nodes: IntArray) -> None:
        """Give those of the nodes a place here that have none, and find their degrees."""
        new = np.array([n for n in nodes.tolist() if n not in self.place], np.int64)
        self.place.update(zip(new.tolist(), range(len(self.ids), len(self.ids) + len(new)), strict=True))
        counts, ends, weight = self.edges(new)
        sink = np.bincount(np.repeat(np.arange(len(new)), counts), weight, len(new))
        self.ids, self.sink, self.x = np.r_[self.ids, new], np.r_[self.sink, sink], np.r_[self.x, np.zeros(len(new))]
        self.touched += len(ends)

    def edges(self, nodes: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
        """(n,) how many edges each of these nodes has, and (M,) where they end and their label-weighted weights."""
        start = self.adjacency.indptr[nodes].astype(np.int64)
        counts = self.adjacency.indptr[nodes + 1] - start
        at = np.repeat(start - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        ends, weight = self.adjacency.indices[at].astype(np.int64), self.adjacency.data[at].astype(np.float64)
        self.went_over(len(at))
        if self.labels is not None:
            agree = np.repeat(self.labels(nodes), counts) == self.labels(ends)
            weight = np.where(agree, weight, self.epsilon * weight)
        return counts, ends, weight


def _diffuse(region: _Region, mass: float) -> None:
    """Set x. The full nodes grow until no other gets more than it holds; each time x is solved for exactly.

    The same point that pushing excess from node to node tends to: L is an M-matrix, so x only rises as nodes join.
    """
    source = region.sink * (mass / max(region.sink[region.full].sum(), 1e-300))
    source[len(region.full) :] = 0
    if mass <= region.sink[region.full].sum():
        return
    while True:
        source = np.r_[source, np.zeros(len(region.ids) - len(source))]
        region.x[region.full] = _solved(region, source)
        inflow = np.bincount(region.column, region.weight * region.x[region.row], len(region.ids))
        inflow[region.full] = 0
        over = np.flatnonzero(inflow > region.sink * (1 + SLACK))
        if not len(over):
            return
        region.fill(over)


def _solved(region: _Region, source: FloatArray) -> FloatArray:
    """(R,) x of the full nodes, where what they hold and pass on adds up and all others are at 0."""
    size, full = len(region.full), region.full
    rank = np.full(len(region.ids), -1)
    rank[full] = np.arange(size)
    row, column = rank[region.row], rank[region.column]
    within = column >= 0
    inner = sparse.csr_array((region.weight[within], (row[within], column[within])), shape=(size, size))
    degree = np.bincount(row, region.weight, size).astype(np.float64)
    supply, closed, component = _supply(inner, row[~within], source[full], region.sink[full])
    scale = 1 / np.where(degree > 0, degree, 1)
    x, _ = cg(
        sparse.diags_array(degree) - inner, supply, region.x[full], rtol=EXACT, M=sparse.diags_array(scale),
        callback=lambda _: region.went_over(inner.nnz),
    )  # fmt: skip
    lowest = np.full(len(closed), np.inf)
    np.minimum.at(lowest, component, x)
    return np.asarray(np.maximum(x - np.where(closed, lowest, 0)[component], 0))


def _supply(
    inner: sparse.csr_array, leaving: IntArray, source: FloatArray, sink: FloatArray
) -> tuple[FloatArray, BoolArray, IntArray]:
    """(R,) source - sink, which components of the full nodes have no way out, and (R,) each node's component.

    A component with no way out gets no more than it holds.
    """
    number, component = connected_components(inner, directed=False)
    closed = np.bincount(component[leaving], minlength=number) == 0
    given, held = np.bincount(component, source, number), np.bincount(component, sink, number)
    share = np.where(closed, np.divide(held, given, where=given > 0, out=np.ones(number)), 1)
    return source * share[component] - sink, closed, component


def _conductances(region: _Region, local: IntArray) -> FloatArray:
    """(R,) conductance of the first, the first two, ... of these nodes, by label-weighted edges; 1 where there are none."""
    size = len(local)
    rank = np.full(len(region.ids), size)
    rank[local] = np.arange(size)
    row, column = rank[region.row], rank[region.column]
    volume = np.cumsum(np.bincount(row, region.weight, size))
    within = np.cumsum(np.bincount(np.maximum(row, column), region.weight, size + 1)[:size])
    return np.asarray(np.divide(volume - within, volume, where=volume > 0, out=np.ones(size)).clip(0, 1))
