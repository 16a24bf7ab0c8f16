"""Which given labels are wrong: a probability for every row, from what a classifier and the row's neighbours say of it.

Confident learning (Northcutt et al. 2021, arXiv 1911.00068; cleanlab) counts which labels are given in place of which.
Those counts turn the class probabilities p(true | text) of a row into the probability that its given label is wrong:

    p(true = given | text, given) = p(given | text) T[given, given] / sum over j of p(j | text) T[given, j]

where T[i, j] is how often label i is given to rows of class j. A label that is often taken for another is suspected where the
other is only a little likelier; one that is never mixed up with anything, where it is very unlikely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Learn = Callable[[BoolArray], NDArray[np.floating[Any]]]  # rows that may be learned from -> (N, L) out-of-sample probabilities

NEIGHBOURS = 10
FEWEST = 5  # rows of a class, for it to be judged: one for each fold
FLOOR = 1e-4  # of a row's probability, spread over all classes: no class is impossible


def neighbours(vectors: NDArray[np.floating[Any]], size: int = NEIGHBOURS) -> tuple[IntArray, FloatArray]:
    """(N, k) the nearest other rows by cosine, and how alike they are, in [0, 1]; k is `size`, or N - 1 where that is less."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=min(size, len(vectors) - 1), metric="cosine", algorithm="brute").fit(vectors)
    distances, near = found.kneighbors()
    return near.astype(np.int64), np.clip(1.0 - distances, 1e-6, 1.0)


def neighbour_shares(near: IntArray, alike: FloatArray, given: IntArray, classes: int) -> FloatArray:
    """(N, L) shares of the labels given to a row's neighbours, nearer ones counting more."""
    shares = np.zeros((len(near), classes))
    np.add.at(shares, (np.arange(len(near))[:, None], given[near]), alike)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def class_probs(learn: Learn, shares: FloatArray, given: IntArray) -> tuple[FloatArray, FloatArray]:
    """(N, L) twice: out-of-sample probabilities of a classifier that did not learn from rows cleanlab suspects, and the same
    pooled with the neighbours' labels in equal parts.

    Args:
        learn: trains the classifier on some of the rows. A class keeps all its rows where fewer than `FEWEST` would be left.
    """
    from cleanlab.filter import find_label_issues

    first = np.asarray(learn(np.ones(len(given), dtype=bool)), dtype=np.float64)
    clean = ~find_label_issues(given, safe(first), n_jobs=1)
    clean |= (np.bincount(given[clean], minlength=first.shape[1]) < FEWEST)[given]
    second = np.asarray(learn(clean), dtype=np.float64)
    return second, (second + shares) / 2


def confident_joint(probs: FloatArray, given: IntArray) -> FloatArray:
    """(L, L) estimated number of rows with given label i and true class j, off the diagonal: errors.

    Args:
        probs: (N, L) out-of-sample. given: (N,) each class at least once.
    """
    from cleanlab.count import compute_confident_joint

    return np.asarray(compute_confident_joint(given, safe(probs), calibrate=True), dtype=np.float64)


def transition(joint: FloatArray) -> FloatArray:
    """(L, L) T[i, j]: how often label i is given to rows of class j; columns sum to 1.

    As many errors as were counted are added once more, spread evenly over all pairs: with many classes most pairs of labels
    are mixed up too rarely to be counted.
    """
    size = len(joint)
    errors = joint.sum() - np.trace(joint)
    spread = errors / max(size * (size - 1), 1) * (1.0 - np.eye(size))
    smooth = joint + spread + 1e-9 * np.eye(size)
    return np.asarray(smooth / smooth.sum(axis=0, keepdims=True))


def wrongness(probs: FloatArray, given: IntArray, mixed_up: FloatArray) -> FloatArray:
    """(N,) probability that the given label is wrong; see the head of this file.

    Args:
        probs: (N, L) of the true class, without the given label of the row itself. mixed_up: (L, L), see `transition`.
    """
    both = safe(probs) * mixed_up[given]
    return np.asarray(1.0 - both[np.arange(len(given)), given] / both.sum(axis=1))


def second_choice(probs: FloatArray, given: IntArray) -> IntArray:
    """(N,) the likeliest class other than the given one."""
    others = probs.copy()
    others[np.arange(len(given)), given] = -1.0
    return np.asarray(others.argmax(axis=1))


def overlaps(joint: FloatArray, names: Sequence[str], most: int = 10) -> list[dict[str, Any]]:
    """Pairs of classes that are taken for each other most: `a`, `b`, `rows` mixed up (estimated) and their `share` of both."""
    from cleanlab.dataset import find_overlapping_classes

    if len(names) < 2:
        return []
    rows = joint.sum(axis=1)
    found = find_overlapping_classes(joint=joint / joint.sum(), num_examples=round(float(joint.sum())))
    pairs = zip(found["Class Index A"], found["Class Index B"], strict=True)
    made = []
    for a, b in list(pairs)[:most]:
        mixed = float(joint[a, b] + joint[b, a])
        if mixed >= 1:
            share = mixed / max(rows[a] + rows[b], 1)
            made.append({"a": names[a], "b": names[b], "rows": round(mixed, 1), "share": round(float(share), 4)})
    return made


def safe(probs: FloatArray) -> FloatArray:
    """No zeros, rows sum to 1."""
    raised = probs + FLOOR / probs.shape[1]
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
