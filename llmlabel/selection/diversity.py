"""How varied one strategy's answers are: boilerplate is easy to predict, and would win on likelihood alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
FEWEST = 3  # answers; fewer have no diversity worth a number
DRAWS = 20


def vendi(vectors: ArrayLike) -> float:
    """The effective number of different answers: 1 where all are alike, N where all are orthogonal.

    Args:
        vectors: (N, D) rows of unit length.
    Raises: ValueError where there are none.
    Source: Friedman and Dieng 2023, arXiv 2210.02410: exp of the entropy of the eigenvalues of the cosines over N, which are
        those of the (D, D) matrix of second moments.
    """
    x = np.asarray(vectors, float)
    if x.ndim != 2 or not len(x):
        raise ValueError("a Vendi score needs (N, D) vectors of at least one answer")
    eigenvalues = np.linalg.eigvalsh((x.T @ x if x.shape[1] < len(x) else x @ x.T) / len(x))
    kept = eigenvalues[eigenvalues > 1e-12]
    kept /= kept.sum()
    return float(np.exp(-(kept * np.log(kept)).sum()))


def diversity(vectors: ArrayLike) -> float:
    """The Vendi score over the number of answers: above 0, at most 1. It falls with N: compare sets of one size."""
    return min(vendi(vectors) / len(np.asarray(vectors)), 1.0)


def diversities(sets: Sequence[ArrayLike], *, seed: int) -> FloatArray:
    """Diversity of each strategy's answers at one size, so that one dropped early does not look more varied for being small.

    Args:
        sets: S arrays (N_s, D) of unit vectors; those below 3 rows are left out.
    Returns: (S,) means over 20 random subsets of as many answers as the smallest set has; nan for sets that are left out.
    """
    arrays = [np.asarray(s, float) for s in sets]
    size = min((len(a) for a in arrays if len(a) >= FEWEST), default=0)
    return np.array([_of_draws(a, size, seed) if len(a) >= FEWEST else np.nan for a in arrays])


def _of_draws(vectors: FloatArray, size: int, seed: int) -> float:
    if len(vectors) == size:
        return diversity(vectors)
    rng = np.random.default_rng(seed)
    return float(np.mean([diversity(vectors[rng.choice(len(vectors), size, replace=False)]) for _ in range(DRAWS)]))
