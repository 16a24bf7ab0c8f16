"""What does a taxonomy miss? How much of the data open-ended labels have not seen yet, and groups among texts no label fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmlabel import stats
from llmlabel.annotation.truth.shares import Measured, accuracy
from llmlabel.errors import DataError
from llmlabel.records import fold

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.int64]
COMPONENTS = 50  # raw vectors leave more texts out (0.42 in groups and not 0.59 on clinc150) and take longer
APART = 0.4  # cosine distance; merging up to it kept topics whole and pure in four sets (bench/coverage.py)
MEMBER = 0.5  # HDBSCAN's own strength of membership; below are texts that only lie nearer to this group than to others
PLENTY = 3.0  # unseen labels to be expected, below which it may well be (exp(-3) = 5%) that there are none


@dataclass(frozen=True, slots=True)
class Missing:
    """`share` of the texts of such data, within [low, high], whose label is none of the `labels` seen so far in `rows` rows.

    `unseen_labels`: at least so many more labels are to be expected (Chao1).
    """

    share: float
    low: float
    high: float
    unseen_labels: float
    labels: int
    singletons: int
    rows: int


@dataclass(frozen=True, slots=True)
class Group:
    """Texts that belong together; `rows` are indices, the most central first; `cohesion` is the mean cosine to the centre."""

    rows: list[int]
    cohesion: float


def missing_mass(labels: Iterable[str], *, confidence: float = 0.95) -> Missing:
    """How likely is the next text to bring a label not seen yet?

    Args:
        labels: the open-ended label of every row, which are compared as `records.fold` makes them.
    Raises: DataError when there are none.

    Estimate: Good and Turing's singletons / n (Good 1953), interval of `stats.missing_mass`; it takes the rows as draws from
    a whole that is much larger. Unseen labels: Chao 1984, its bias-corrected form.
    """
    counts = np.array(list(Counter(map(fold, labels)).values()))
    n = int(counts.sum())
    if n == 0:
        raise DataError("no labels, so nothing is known of the missing ones")
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    low, high = stats.missing_mass(once, twice, n, confidence)
    unseen = (n - 1) / n * once * max(once - 1, 0) / (2 * (twice + 1))
    return Missing(once / n, low if unseen >= PLENTY else 0.0, high, unseen, len(counts), once, n)


def none_fits(fits: NDArray[np.bool_], *, inclusion: NDArray[np.float64] | None = None) -> Measured | None:
    """The share of rows that no label fits, with Wilson's interval; None without rows.

    Args:
        fits: (n,) whether a label fits. inclusion: (n,) the probability with which each row was drawn; None: a uniform draw.
    """
    return accuracy(~np.asarray(fits, dtype=bool), inclusion=inclusion)


def clusters_of_rest(vectors: FloatArray, *, min_size: int = 10, seed: int = 0) -> list[Group]:
    """Group the texts that no label fits: candidates for labels that the taxonomy lacks.

    Args:
        vectors: (n, D) rows of unit length. min_size: fewer texts are no group.
    Returns: groups, the largest first; rows in no group are left out.
    Source: HDBSCAN (Campello et al. 2013) on the first principal components; its leaves, since what it finds more stable mixes
    topics (newsgroups: 2 groups, 61% pure). Leaves whose centres are nearer than APART on average are one group.
    """
    from sklearn.cluster import HDBSCAN
    from sklearn.decomposition import PCA

    x = np.asarray(vectors, dtype=np.float64)
    if len(x) < max(3, min_size):
        return []
    if not np.ptp(x, axis=0).any():
        return [_group(x, np.arange(len(x)))]
    space = _unit(PCA(min(COMPONENTS, len(x) - 1, x.shape[1]), random_state=seed).fit_transform(x))
    model = HDBSCAN(min_size, min_samples=max(1, min_size // 2), cluster_selection_method="leaf", copy=True)
    found = model.fit_predict(space)
    members = (np.flatnonzero((found == k) & (model.probabilities_ >= MEMBER)) for k in range(int(found.max()) + 1))
    leaves = [rows for rows in members if len(rows) >= min_size]
    groups = [_group(x, rows) for rows in _merged(x, leaves)]
    return sorted(groups, key=lambda g: (-len(g.rows), g.rows))


def _merged(x: NDArray[np.float64], leaves: list[IntArray]) -> list[IntArray]:
    """Leaves put together by average linkage of their centres."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(leaves) < 2:
        return leaves
    centres = _unit(np.stack([x[rows].mean(axis=0) for rows in leaves]))
    far = np.clip(1 - centres @ centres.T, 0, 2)[np.triu_indices(len(leaves), 1)]
    of = fcluster(linkage(far, "average"), APART, "distance")
    return [np.sort(np.concatenate([rows for rows, k in zip(leaves, of, strict=True) if k == one])) for one in np.unique(of)]


def _group(x: FloatArray, rows: IntArray) -> Group:
    centre = x[rows].mean(axis=0)
    alike = x[rows] @ (centre / max(float(np.linalg.norm(centre)), 1e-12))
    return Group(rows[np.argsort(-alike, kind="stable")].tolist(), float(alike.mean()))


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
