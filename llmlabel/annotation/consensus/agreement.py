"""How far do annotators agree, with each other, with gold, and with the consensus?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from llmlabel.annotation.consensus.ballots import FloatArray, distinct, read, read_gold
from llmlabel.annotation.consensus.dependence import kappas, pair_counts
from llmlabel.errors import DataError
from llmlabel.stats import wilson

MOST_CELLS = 20_000_000  # rows * classes * classes that alpha is worked out on; of more rows a sample is drawn


@dataclass(frozen=True)
class Annotator:
    """One row of the table. `coverage`: share of rows with a usable answer. `accuracy` on `gold_rows`, with Wilson's 95% interval
    [low, high]; `with_consensus`: share of its answers that are the consensus label; None where there is nothing to count.
    `constant`: it always says the same, so that its answers tell nothing."""

    name: str
    coverage: float
    gold_rows: int
    accuracy: float | None
    low: float | None
    high: float | None
    with_consensus: float | None
    constant: bool


def alpha(votes: ArrayLike, size: int, seed: int = 0) -> float | None:
    """Krippendorff's alpha for nominal labels: 1 full agreement, 0 as by chance.

    Args:
        votes: (N, A) class index, -1 for no usable answer. size: number of classes.
    Returns: None where no row has two answers, or all answers are the same (alpha is then undefined).
    Raises: DataError for votes out of range.
    """
    from krippendorff import alpha as krippendorff_alpha

    known = read(votes, size).votes
    known = known[(known >= 0).sum(axis=1) > 1]
    if not len(known) or len(np.unique(known[known >= 0])) < 2:
        return None
    most = max(MOST_CELLS // size**2, 1000)
    if len(known) > most:
        known = known[np.random.default_rng(seed).choice(len(known), most, replace=False)]
    counts = np.stack([(known == label).sum(axis=1) for label in range(size)], axis=1)
    return float(krippendorff_alpha(value_counts=counts, level_of_measurement="nominal"))


def raw_agreement(votes: ArrayLike, size: int) -> FloatArray:
    """(A, A) share of rows, among those both answered, in which two annotators say the same; NaN where there are none."""
    known = read(votes, size).votes
    same, both = pair_counts(known, np.ones(len(known)))
    return np.asarray(np.where(both > 0, same / np.maximum(both, 1.0), np.nan))


def cohen_kappa(votes: ArrayLike, size: int) -> FloatArray:
    """(A, A) Cohen's kappa of every pair over the rows both answered, chance from all answers of each; NaN where undefined."""
    known = read(votes, size).votes
    first, _, counts = distinct(known, size)
    return kappas(known[first], size, counts.astype(np.float64))


def table(
    votes: ArrayLike,
    size: int,
    *,
    gold: ArrayLike | None = None,
    consensus: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> list[Annotator]:
    """One row per annotator, in order.

    Args:
        gold: (N,) class index, -1 where unknown. consensus: (N,) label of the consensus, -1 where there is none.
    Raises: DataError for arrays that do not fit.
    """
    known = read(votes, size).votes
    truth, agreed = (read_gold(values, len(known), size) for values in (gold, consensus))
    called = list(names) if names is not None else [f"annotator {a}" for a in range(known.shape[1])]
    if len(called) != known.shape[1]:
        raise DataError(f"{len(called)} names for {known.shape[1]} annotators")
    rows = []
    for name, said in zip(called, known.T, strict=True):
        told = said >= 0
        judged, shared = told & (truth >= 0), told & (agreed >= 0)
        right, seen = int((said == truth)[judged].sum()), int(judged.sum())
        low, high = wilson(right, seen) if seen else (None, None)
        with_consensus = float((said == agreed)[shared].mean()) if shared.any() else None
        constant = bool(told.sum() > 1 and np.ptp(said[told]) == 0)
        coverage = float(told.mean()) if len(told) else 0.0
        rows.append(Annotator(name, coverage, seen, right / seen if seen else None, low, high, with_consensus, constant))
    return rows
