"""Texts in groups: where the groups come from, and what is typical of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform

from llmlabel.taxonomy.cluster import by_size, centroids, soft_assign

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.int64]

FEWEST = 4
NEARLY_BEST = 0.95  # of the best silhouette; the smallest K that reaches it is taken
SHARPNESS = 0.05  # temperature of the distribution over groups
DIVERSE_SHARE = 0.85  # the farthest members of a group are not shown as typical


@dataclass
class Groups:
    """Texts and the group of each.

    Args:
        texts: N texts. features: (N, D) rows the groups were made from. assignment: (N,) group ids 0..K-1.
    """

    texts: Sequence[str]
    features: FloatArray
    assignment: IntArray

    @property
    def count(self) -> int:
        return int(self.assignment.max()) + 1

    @property
    def centres(self) -> FloatArray:
        """(K, D) unit rows."""
        return centroids(self.features, self.assignment)

    def nearest(self, k: int, n: int) -> list[int]:
        """At most n texts nearest to the centre of group k, no two of them equal."""
        members = np.flatnonzero(self.assignment == k)
        order = members[np.argsort(-(self.features[members] @ self.centres[k]), kind="stable")].tolist()
        first = {self.texts[i]: i for i in reversed(order)}
        return [i for i in order if first[self.texts[i]] == i][:n]

    def typical(self, k: int, n: int) -> list[int]:
        """At most n texts that show the width of group k: half of them central, half far from those already chosen."""
        ranked = self.nearest(k, len(self.texts))
        chosen = ranked[: max(1, n // 2)]
        rest = ranked[len(chosen) : max(len(chosen), int(len(ranked) * DIVERSE_SHARE))]
        while rest and len(chosen) < n:
            alike = (self.features[rest] @ self.features[chosen].T).max(axis=1)
            chosen.append(rest.pop(int(alike.argmin())))
        return chosen

    def neighbours(self, k: int, n: int) -> list[int]:
        """The n groups whose centres are nearest to that of group k."""
        alike = self.centres @ self.centres[k]
        return [int(j) for j in np.argsort(-alike, kind="stable") if j != k][:n]

    def distribution(self) -> FloatArray:
        """(N, K) probability of every group for every text, by nearness to the centres."""
        unit = self.features / np.maximum(np.linalg.norm(self.features, axis=1, keepdims=True), 1e-12)
        return soft_assign(unit, self.centres, SHARPNESS)

    def merge(self, keep: int, gone: int) -> None:
        self.assignment[self.assignment == gone] = keep
        self.assignment[self.assignment > gone] -= 1


def ward(features: FloatArray, max_labels: int) -> IntArray:
    """Ward's hierarchy cut at the smallest K whose mean silhouette is nearly the best.

    K goes from 4 to the square root of N, at most `max_labels`: with more groups than that the silhouette keeps rising.

    Args:
        features: (N, D).
    Returns: (N,) group ids, the largest group first.
    Source: Ward 1963; Rousseeuw 1987 (silhouettes).
    """
    from sklearn.metrics import silhouette_score

    distinct = len(np.unique(features, axis=0))
    most = min(max_labels, max(2, round(len(features) ** 0.5)), distinct)
    if most < 2:
        return np.zeros(len(features), dtype=np.int64)
    distances = pdist(features)
    tree, square = linkage(distances, "ward"), squareform(distances)
    cuts = {k: fcluster(tree, k, "maxclust") for k in range(min(FEWEST, most), most + 1)}
    cuts = {k: cut for k, cut in cuts.items() if 1 < len(set(cut)) < len(cut)}
    if not cuts:
        return np.zeros(len(features), dtype=np.int64)
    quality = {k: float(silhouette_score(square, cut, metric="precomputed")) for k, cut in cuts.items()}
    best = max(quality.values())
    chosen = next(k for k in sorted(quality) if quality[k] >= best - (1 - NEARLY_BEST) * abs(best))
    return by_size(cuts[chosen].astype(np.int64) - 1)
