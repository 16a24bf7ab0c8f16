"""FastRP: vectors of nodes from the edges alone (Chen et al., CIKM 2019, arXiv 1908.11512)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmlabel.errors import ConfigError

Vectors = NDArray[np.float32]
DIM = 128
WEIGHTS = (0.0, 0.0, 1.0, 4.0)  # the authors' notebooks end at 1, 6.67 and beta -0.64 for BlogCatalog, 1, 2 and 0.5 for Citeseer:
BETA = 0.0  # in between, since graphs differ


def fastrp(
    adjacency: sparse.csr_array, *, dim: int = DIM, weights: Sequence[float] = WEIGHTS, beta: float = BETA, seed: int = 0
) -> Vectors:
    """(N, dim) float32 vectors; nodes whose neighbourhoods overlap point the same way.

    Args:
        adjacency: (N, N) CSR, symmetric, weights above 0.
        weights: of one step, two steps, ... from a node; their number says how far it looks.
        beta: the share of a node of degree d goes by d^beta: below 0 hubs count less, above 0 more.
    Raises: ConfigError.
    """
    if dim < 1 or not any(weights) or not np.isfinite([*weights, beta]).all():
        raise ConfigError(
            f"FastRP with dim {dim}, weights {[*weights]}, beta {beta}: give a dim of 1 or more, and numbers, not all weights 0"
        )
    return embed(adjacency, projection(adjacency.shape[0], dim, np.random.default_rng(seed)), weights, beta)


def projection(nodes: int, dim: int, rng: np.random.Generator) -> sparse.csr_array:
    """(N, dim) very sparse random matrix: a share 1/s of it is +-sqrt(s), by chance, where s = sqrt(N) (Li et al., KDD 2006)."""
    s = max(nodes, 1) ** 0.5
    places = rng.choice(nodes * dim, size=round(nodes * dim / s), replace=False, shuffle=False)
    signs = rng.choice(np.array([-1, 1], np.float32), size=len(places)) * np.float32(s**0.5)
    return sparse.csr_array((signs, np.divmod(places, dim)), shape=(nodes, dim))


def embed(adjacency: sparse.csr_array, projected: sparse.csr_array, weights: Sequence[float], beta: float) -> Vectors:
    """(N, dim) sum over k = 1.. of weight_k rownorm(P^k L R): P = D^-1 A, L = diag((d_j / 2m)^beta), R = `projected` (N, dim).

    The row of a node without edges is 0.
    """
    degree = np.asarray(adjacency.sum(axis=1), dtype=np.float64).ravel()
    linked = degree > 0
    share = np.divide(degree, degree.sum(), where=linked, out=np.ones_like(degree))
    damped = sparse.diags_array((share**beta).astype(np.float32)) @ projected
    to_mean = np.divide(1, degree, where=linked, out=np.zeros_like(degree)).astype(np.float32)[:, None]
    power = np.asarray((adjacency @ damped).toarray(), dtype=np.float32)
    power *= to_mean
    total = np.zeros_like(power)
    for step, weight in enumerate(weights):
        if step:
            power = np.asarray(adjacency @ power)
            power *= to_mean
        if weight:
            norm = np.sqrt(np.einsum("nd,nd->n", power, power, dtype=np.float64))
            total += power * np.divide(weight, norm, where=norm > 0, out=np.zeros_like(norm)).astype(np.float32)[:, None]
    return total
