"""Do new texts lie where the reference's texts lie? And would a classifier still say what the model says of them?

What is learned is learned from some of the reference's rows and tried on others, which have then been seen by nothing, just as
new rows have not: without drift the two are exchangeable, so the tests keep their level whatever the vectors are. Which tests:
bench/drift.py; maximum mean discrepancy finds a tenth of strange texts more often than a classifier that tells samples apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlabel import stats
from llmlabel.annotation.drift.labels import compared, grown
from llmlabel.annotation.drift.sample import FloatArray, IntArray, Side

TAIL = 0.1  # of the held-out reference texts are as far as what counts as far
FOLDS = 2
MOST = 1000  # texts of a side in the kernel test, whose time grows with their square
Vectors = NDArray[np.floating]


def distances(vectors: Vectors, pool: Vectors) -> FloatArray:
    """(N,) cosine distance of each text to its nearest one in the pool."""
    parts = [1.0 - (vectors[i : i + 1000] @ pool.T).max(axis=1) for i in range(0, len(vectors), 1000)]
    return np.concatenate(parts).astype(np.float64)


def far(pool: Vectors, held: Vectors, new: Vectors) -> tuple[dict[str, Any], FloatArray]:
    """How many new texts are farther from the reference than 90% of its own held-out texts, and the distances of the new ones.

    `p`: of so many new ones among the farthest tenth of both (hypergeometric, exact without drift).
    """
    then, now = distances(held, pool), distances(new, pool)
    edge, cut = (float(np.quantile(x, 1 - TAIL)) for x in (then, np.concatenate([then, now])))
    told, tested = (((int((then > x).sum()), len(then)), (int((now > x).sum()), len(now))) for x in (edge, cut))
    return {**compared(*told), "edge": edge, "p": stats.shares_differ(*tested, grown=True)}, now


def told_apart(old: Vectors, new: Vectors, seed: int) -> dict[str, Any]:
    """Whether the two are samples of one distribution: `p` of the kernel test, and how well a logistic regression tells new texts
    from the reference's, none of which it has learned from. `auc` .5: not at all.

    It learns from one half and is tried on the other, and the other way round.
    Source: Lopez-Paz and Oquab 2017, arXiv 1610.06545; their test, with ranks, was weaker than the kernel's.
    Returns: empty for fewer than ten texts on a side.
    """
    from sklearn.linear_model import LogisticRegression

    size = min(len(old), len(new))
    if size < 10:
        return {}
    draw, half = np.random.default_rng((seed, 1)), np.arange(size) % FOLDS
    sides, found = [x[draw.permutation(len(x))[:size]] for x in (old, new)], []
    for k in range(FOLDS):
        learn, (before, now) = [x[half != k] for x in sides], [x[half == k] for x in sides]
        model = LogisticRegression(max_iter=200).fit(np.vstack(learn), np.repeat([0, 1], [len(x) for x in learn]))
        found.append(stats.auc_interval(model.decision_function(now), model.decision_function(before)))
    auc = float(np.mean([area for area, _, _ in found]))
    wide = float(np.mean([high - low for _, low, high in found])) / 2 / np.sqrt(FOLDS)
    p = stats.same_distribution(*(x[draw.permutation(len(x))[:MOST]] for x in (old, new)), seed=seed)
    return {"auc": auc, "low": max(auc - wide, 0.0), "high": min(auc + wide, 1.0), "p": p, "rows": size}


def predicted(learn: Vectors, labels: IntArray, *others: Vectors) -> list[IntArray]:
    """What a classifier says of other texts that learned these labels, those of -1 left out; [] where there are fewer than two
    labels or ten rows."""
    rows = np.flatnonzero(labels >= 0)
    if len(rows) < 10 or stats.alike(labels[rows]):
        return []
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0, max_iter=100).fit(learn[rows], labels[rows])
    return [model.predict(x).astype(np.int64) for x in others]


def disagreement(sides: Sequence[Side], said: Sequence[IntArray]) -> dict[str, Any]:
    """How often the labels that were asked for are not what the classifier says: of held-out rows, then of new ones."""
    rows = [np.flatnonzero((side.labels >= 0) & side.asked) for side in sides]
    before, now = (side.labels[r] != guess[r] for side, guess, r in zip(sides, said, rows, strict=True))
    return grown(before, now)
