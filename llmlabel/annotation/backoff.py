"""An unsure answer goes up the taxonomy: the label with the smallest expected squared distance to the true one.

Source: Loki, arXiv 2307.12226: the Frechet mean of a distribution over the labels of a tree, distances counted in edges.
On a tree it is never a leaf without probability of its own (its parent is nearer to everything else); labels that a student
never saw are answered with a label above them at best. Probabilities must be calibrated (`calibration`): a student too flat
answers with parents where it knows the leaf.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmlabel.errors import DataError
from llmlabel.records import NONE_FITS, Taxonomy

FloatArray = NDArray[np.float64]


def distances(taxonomy: Taxonomy) -> FloatArray:
    """(M + 1, M + 1) edges between the M labels in the taxonomy's order and, last, `-` (none fits).

    Labels without a parent, and `-`, hang from one root above them all.
    """
    above = _above(taxonomy)
    depth = above.sum(axis=1)
    return np.asarray(depth[:, None] + depth[None, :] - 2 * above @ above.T)


def back_off(probs: ArrayLike, classes: Sequence[str], taxonomy: Taxonomy) -> tuple[list[str], FloatArray]:
    """A label for every row, a leaf where the probabilities say so, else one above; all labels of the taxonomy are candidates.

    Args:
        probs: (N, L) calibrated, rows sum to 1. classes: L label ids, `-` for none fits; leaves may be missing (never trained).
    Returns: N label ids, and the confidence (N,): the probability of the label and all below it. In a flat taxonomy this is
        the most probable class; in two levels, a leaf where its probability and its parent's have a sum above 1.75.
    Raises: DataError for a class that the taxonomy does not have, or probabilities that do not fit.
    """
    known = np.asarray(probs, dtype=np.float64)
    if known.ndim != 2 or known.shape[1] != len(classes):
        raise DataError(f"probabilities must be (rows, {len(classes)}), one column for each class, got {known.shape}")
    if not np.isfinite(known).all() or (known < 0).any() or np.abs(known.sum(axis=1) - 1).max(initial=0.0) > 1e-3:
        raise DataError("probabilities must be at least 0 with rows that sum to 1")
    names = [label.id for label in taxonomy.labels] + [NONE_FITS]
    strange = [c for c in classes if c not in names]
    if strange:
        raise DataError(f"class {strange[0]!r} is not a label of the taxonomy")
    columns = [names.index(c) for c in classes]
    cost = known @ distances(taxonomy)[columns] ** 2
    if NONE_FITS not in classes:
        cost[:, -1] = np.inf
    order = np.array(columns + [k for k in range(len(names)) if k not in columns])  # a class before a parent, where they tie
    best = order[np.round(cost[:, order], 9).argmin(axis=1)]
    mass = known @ _above(taxonomy)[columns]
    return [names[k] for k in best], np.minimum(mass[np.arange(len(known)), best], 1.0)


def _above(taxonomy: Taxonomy) -> FloatArray:
    """(M + 1, M + 1) 1 where the column's label is the row's or above it; `-` last."""
    index = {label.id: k for k, label in enumerate(taxonomy.labels)}
    found = np.eye(len(index) + 1)
    for label, row in index.items():
        found[row, [index[a] for a in taxonomy.path(label)]] = 1.0
    return found
