"""A graph of texts as arrays: what selectors, filters and GNNs work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Graph:
    """N nodes.

    Args:
        adjacency: (N, N) CSR float32, symmetric, weights above 0, no self-loops: what directed graphs are to the methods here.
        x: (N, F) float32 features, rows at length 1 or 0. classes: how many classes the nodes are expected to have.
        askable: (N,) False for nodes that nobody can be asked about (no text).
    """

    adjacency: sparse.csr_array
    x: FloatArray
    classes: int
    askable: BoolArray

    @property
    def size(self) -> int:
        return int(self.adjacency.shape[0])

    @cached_property
    def degree(self) -> FloatArray:
        """(N,) sum of edge weights."""
        return np.asarray(self.adjacency.sum(axis=1), dtype=np.float64).ravel()

    @cached_property
    def walk(self) -> sparse.csr_array:
        """(N, N) D^-1 A: the mean of the neighbours; an isolated node is its own neighbour."""
        alone = (self.degree == 0).astype(np.float32)
        found = sparse.csr_array(self.adjacency + sparse.diags_array(alone))
        found.data *= np.repeat((1 / (self.degree + alone)).astype(np.float32), np.diff(found.indptr))
        return found

    @cached_property
    def normalised(self) -> sparse.csr_array:
        """(N, N) D^-1/2 (A + I) D^-1/2, degrees with the self-loop: the propagation of GCN (Kipf and Welling 2017)."""
        root = (1 / np.sqrt(self.degree + 1)).astype(np.float32)
        found = sparse.csr_array(self.adjacency + sparse.eye_array(self.size, dtype=np.float32, format="csr"))
        found.data *= np.repeat(root, np.diff(found.indptr))
        found.data *= root[found.indices]
        return found

    def symmetric(self, dtype: Any = np.float32) -> sparse.csr_array:
        """(N, N) D^-1/2 A D^-1/2, no self-loops: what labels spread along."""
        root = sparse.diags_array(np.where(self.degree > 0, 1 / np.sqrt(np.maximum(self.degree, 1e-12)), 0.0).astype(dtype))
        return sparse.csr_array(root @ self.adjacency @ root)

    @cached_property
    def aax(self) -> FloatArray:
        """(N, F) (D^-1 A)^2 X: features averaged over two hops, without self-loops."""
        return np.asarray(self.walk @ (self.walk @ self.x))

    def propagated(self, hops: int) -> FloatArray:
        """(N, F) features after so many steps of `normalised`."""
        x = self.x
        for _ in range(hops):
            x = self.normalised @ x
        return np.asarray(x)

    @cached_property
    def smooth(self) -> FloatArray:
        """(N, F) unit rows of what `propagated` makes in two steps of features at length 1."""
        from sklearn.preprocessing import normalize

        x = normalize(self.x)
        for _ in range(2):
            x = self.normalised @ x
        return np.asarray(normalize(x, copy=False), dtype=np.float32)


@dataclass(frozen=True)
class Annotated:
    """What is known of n nodes that were annotated.

    Args:
        nodes: (n,) rows of the graph. labels: (n,) class index below `classes`. confidence: (n,) in [0, 1], NaN where none was
            told. classes: ids of the L classes.
    """

    nodes: IntArray
    labels: IntArray
    confidence: FloatArray
    classes: Sequence[str]

    def some(self, keep: BoolArray) -> Annotated:
        """Those of them where `keep` (n,) is True."""
        return Annotated(self.nodes[keep], self.labels[keep], self.confidence[keep], self.classes)

    @property
    def one_hot(self) -> FloatArray:
        """(n, L)."""
        return np.eye(len(self.classes))[self.labels]


def adjacency(nodes: int, source: IntArray, target: IntArray, weight: FloatArray | None = None) -> sparse.csr_array:
    """The symmetric adjacency of an edge list, (N, N) CSR float32; the direction of edges is given up.

    Args:
        source, target: (E,) node numbers. weight: (E,) above 0; None: 1. Self-loops are left out; an edge that stands there more
            than once, in either direction, counts once, with its largest weight.
    """
    real = source != target
    values = np.ones(int(real.sum()), np.float32) if weight is None else weight[real].astype(np.float32)
    index = np.int32 if nodes < 2**31 else np.int64  # half the memory
    links = _largest(nodes, source[real].astype(index), target[real].astype(index), values)
    return sparse.csr_array(links.maximum(links.T))


def _largest(nodes: int, source: NDArray[Any], target: NDArray[Any], values: FloatArray) -> sparse.csr_array:
    """A CSR matrix where repeated entries count once, at their largest."""
    if len(values) and values.min() == values.max():
        found = sparse.csr_array((np.ones(len(values), np.float32), (source, target)), shape=(nodes, nodes))
        found.sum_duplicates()
        found.data = np.full_like(found.data, values[0])
        return found
    order = np.lexsort((-values, target, source))
    source, target, values = source[order], target[order], values[order]
    first = np.r_[True, (np.diff(source) != 0) | (np.diff(target) != 0)] if len(values) else np.zeros(0, bool)
    return sparse.csr_array((values[first], (source[first], target[first])), shape=(nodes, nodes))
