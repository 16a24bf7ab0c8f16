"""Several labels a text: every label set a conformal test cannot rule out."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmlabel.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

SLACK = 1e-9  # rounding in sums must not drop a set that scores exactly q
ROWS = 512  # rows counted at a time


@dataclass(frozen=True)
class Predicted:
    """N rows by L labels.

    count: (N,) how many label sets are left, 0 where the row is unlike everything in calibration; `capped` (N,) bool marks
    rows where counting stopped, so that count is a lower bound. union, core: (N, L) bool, labels in any and in every set
    left (exact, capped or not; empty where no set is left). best: (N, L) bool, the set that fits best, left or not.
    """

    count: IntArray
    capped: BoolArray
    union: BoolArray
    core: BoolArray
    best: BoolArray

    @property
    def single(self) -> BoolArray:
        """(N,) bool: one set is left, and it is `best`; the other rows are for people."""
        return np.asarray(self.count == 1)


@dataclass(frozen=True)
class LabelSets:
    """Label-powerset inductive conformal prediction, exact.

    A label set Y scores alpha(Y) = sum_j |y_j - p_j|^r; sets with alpha(Y) <= q are left, where q is the
    ceil((n + 1)(1 - epsilon))-th smallest score of n calibration rows with their true sets. The true set of a new row is
    left with probability >= 1 - epsilon, over calibration and new rows drawn alike. That is a mean over all rows and promises
    nothing about those with a single set. With r = 1 these are mostly wrong: many small marginals add up to so large a score
    that only the best set is left; from r = 4 on they were right about as often as 1 - epsilon, with far fewer labels in
    the union. To accept rows with a promise, give `certainty` to `deferral.choose_threshold`.

    scores: (n,) calibration scores, ascending.
    Source: Maltoudoglou et al. 2022, efficient label-powerset ICP (arXiv 2312.09304).
    """

    scores: FloatArray
    epsilon: float
    r: float = 4.0

    @classmethod
    def fit(cls, probs: ArrayLike, truth: ArrayLike, epsilon: float, r: float = 4.0) -> LabelSets:
        """Calibrate on rows the marginals were not trained on.

        Args:
            probs: (n, L) marginals in [0, 1]. truth: (n, L) bool, the true label sets.
            epsilon: the share of true sets that may be lost. r: exponent of the score, above 0.
        Raises: ConfigError for epsilon or r out of range; DataError for arrays that do not fit each other.
        """
        if not 0 < epsilon < 1 or r <= 0:
            raise ConfigError(f"epsilon is between 0 and 1 and r above 0, not {epsilon} and {r}")
        p, y = marginals(probs), np.asarray(truth, dtype=bool)
        if p.shape != y.shape:
            raise DataError(f"marginals of shape {p.shape} do not fit true sets of shape {y.shape}; both are (n, L)")
        return cls(np.sort((np.abs(y - p) ** r).sum(axis=1)), epsilon, r)

    @property
    def q(self) -> float:
        """The largest score a set may have; infinite where there are fewer than 1/epsilon - 1 calibration rows."""
        rank = math.ceil((len(self.scores) + 1) * (1 - self.epsilon) - SLACK)
        return float(self.scores[rank - 1]) if rank <= len(self.scores) else math.inf

    @property
    def why(self) -> str:
        """In one sentence, what is promised, or why nothing is."""
        n, kept = len(self.scores), f"{100 * (1 - self.epsilon):.4g}%"
        if math.isinf(self.q):
            needed = math.ceil(1 / self.epsilon - 1 - SLACK)
            return f"gold of {n} rows cannot promise to keep {kept} of the true label sets: it takes at least {needed}"
        return f"at least {kept} of the true label sets are kept, by {n} gold rows"

    def predict(self, probs: ArrayLike, cap: int = 1000) -> Predicted:
        """The label sets left for every row.

        Args:
            probs: (N, L) marginals. cap: where to stop counting the sets of a row.
        """
        p = marginals(probs)
        best, costs, room = self._flips(p)
        some = room >= -SLACK
        loose = (costs <= room[:, None] + SLACK) & some[:, None]  # labels that some set left has otherwise than the best one
        count = some.astype(np.int64)
        many = np.flatnonzero(loose.any(axis=1))
        for part in np.array_split(many, math.ceil(len(many) / ROWS)) if len(many) else []:
            count[part] = subsets_within(costs[part], room[part], cap)
        core = best & some[:, None] & ~loose
        return Predicted(np.minimum(count, cap), count > cap, core | loose, core, best)

    def sets(self, probs: ArrayLike, cap: int = 1000) -> tuple[list[BoolArray], bool]:
        """The label sets left for one row, best first, and whether there are more than `cap`.

        Args:
            probs: (L,) marginals.
        Returns: at most `cap` arrays (L,) bool.
        """
        best, costs, room = (part[0] for part in self._flips(marginals(np.atleast_2d(np.asarray(probs, dtype=np.float64)))))
        found = list(islice(subsets_in_order(costs, float(room)), cap + 1))
        flipped = np.zeros((len(found), len(best)), dtype=bool)
        for row, subset in zip(flipped, found, strict=True):
            row[subset] = True
        return list(flipped[:cap] ^ best), len(found) > cap

    def p_value(self, probs: ArrayLike, labels: ArrayLike) -> FloatArray:
        """(N,) p-values of one label set a row: small where it does not fit.

        Args:
            probs: (N, L) marginals. labels: (N, L) bool.
        """
        score = (np.abs(np.asarray(labels, dtype=bool) - marginals(probs)) ** self.r).sum(axis=1)
        above = len(self.scores) - np.searchsorted(self.scores, score - SLACK)
        return np.asarray((above + 1) / (len(self.scores) + 1))

    def to_json(self) -> dict[str, Any]:
        q = None if math.isinf(self.q) else self.q
        return {"epsilon": self.epsilon, "r": self.r, "n": len(self.scores), "q": q, "scores": self.scores.tolist()}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> LabelSets:
        return cls(np.asarray(said["scores"], dtype=np.float64), said["epsilon"], said["r"])

    def _flips(self, p: FloatArray) -> tuple[BoolArray, FloatArray, FloatArray]:
        """The best set of each row, what it costs to flip each label (N, L), and what may be spent (N,)."""
        best = p >= 0.5
        kept = np.abs(best - p) ** self.r
        return best, np.abs(~best - p) ** self.r - kept, self.q - kept.sum(axis=1)


def certainty(probs: ArrayLike) -> FloatArray:
    """(N,) probability that the best set is right if labels were independent: a confidence to be thresholded on gold.

    Args:
        probs: (N, L) marginals.
    """
    p = marginals(probs)
    return np.asarray(np.maximum(p, 1 - p).prod(axis=1))


def marginals(probs: ArrayLike) -> FloatArray:
    """(N, L) float64, checked."""
    p = np.asarray(probs, dtype=np.float64)
    if p.ndim != 2:
        raise DataError(f"marginals are (rows, labels), not of shape {p.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("marginals are probabilities between 0 and 1")
    return p


def subsets_in_order(costs: FloatArray, room: float) -> Iterator[IntArray]:
    """Subsets whose costs sum to at most `room`, cheapest first (best-first over sorted costs).

    Args:
        costs: (K,) >= 0.
    Yields: positions in `costs`; the empty subset first, nothing where `room` is negative.
    """
    order = np.argsort(costs, kind="stable")
    cost = costs[order].tolist()
    heap: list[tuple[float, tuple[int, ...]]] = [(0.0, ())] if room >= -SLACK else []
    while heap:
        spent, chosen = heapq.heappop(heap)
        yield order[list(chosen)]
        following = chosen[-1] + 1 if chosen else 0
        if following >= len(cost):
            continue
        grown = [(spent + cost[following], (*chosen, following))]
        if chosen:  # the last one moves on
            grown.append((spent - cost[following - 1] + cost[following], (*chosen[:-1], following)))
        for item in grown:
            if item[0] <= room + SLACK:
                heapq.heappush(heap, item)


def subsets_within(costs: FloatArray, room: FloatArray, cap: int) -> IntArray:
    """(M,) how many subsets of each row's costs sum to at most its room; above `cap`, some number above `cap`.

    Args:
        costs: (M, K) >= 0. room: (M,) >= 0.
    """
    row, spent = np.arange(len(costs)), np.zeros(len(costs))  # one entry for every subset that may still grow
    total = np.ones(len(costs), dtype=np.int64)
    for column in np.sort(costs, axis=1).T:
        grown = spent + column[row]
        grows = (grown <= room[row] + SLACK) & (total[row] <= cap)  # where this cost is too high, so are all that follow
        row, spent, grown = row[grows], spent[grows], grown[grows]
        total += np.bincount(row, minlength=len(total))
        row, spent = np.concatenate([row, row]), np.concatenate([spent, grown])
    return total
