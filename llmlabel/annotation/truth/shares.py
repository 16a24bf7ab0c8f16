"""How large is every class in the whole data, from a model's labels on all rows and gold labels on a few? And how right is it?

Counting a model's labels gives biased shares; counting gold rows gives long intervals. The prediction-powered mean takes the
model's mean over all rows and corrects it by what the gold rows say about the model's error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmlabel.errors import DataError
from llmlabel.stats import critical, wilson_effective

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CERTAIN = 1e-12  # stands for the chance of missing a row that was sure to be drawn


@dataclass(frozen=True, slots=True)
class Share:
    """One class: `naive` counts the model's labels, `share` is corrected, within [low, high]; `classical_low` and `_high` come
    from gold rows alone. `rows`: how many have the model's label (a sum of probabilities, rounded); `gold_rows`: gold ones."""

    label: str
    naive: float
    share: float
    low: float
    high: float
    classical_low: float
    classical_high: float
    rows: int
    gold_rows: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A share of `rows` rows with its interval."""

    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, slots=True)
class Quality:
    """Precision and recall of one class; None where no gold row can say."""

    label: str
    precision: Measured | None
    recall: Measured | None


def label_shares(
    classes: Sequence[str],
    predicted: NDArray[np.floating] | IntArray,
    gold: IntArray,
    *,
    inclusion: FloatArray | None = None,
    confidence: float = 0.95,
) -> list[Share]:
    """The share of every class among all N rows, gold rows included.

    Args:
        classes: L names. predicted: (N, L) probabilities or 0/1, or (N,) class indices, -1 for no answer; on gold rows
            from a model that did not learn from them. gold: (N,) class index, -1 where unknown; or (N, L) 0/1, rows of -1.
        inclusion: (N,) the probability with which every row was to get a gold label; None: a uniform draw.
    Returns: L shares, in the order of `classes`. They are of these N rows: where all have gold, no interval is left.
    Raises: DataError when there is no gold row, shapes do not fit, or an inclusion probability is outside (0, 1].

    Estimate: lambda * mean(predicted) + weighted mean over gold of (gold - lambda * predicted), lambda in [0, 1] that of least
    variance (PPI++, arXiv 2311.01453), weights 1 / inclusion (DSL, arXiv 2306.04746). The rows are a finite population, so the
    variance is that of the draw of gold rows. Interval: Wilson's at the effective sample size; as in Wilson's own, z^2 / 4 is
    added to sums of squares, which keeps a rare class without errors among its few gold rows from looking certain.
    """
    f, known, chance = _checked(predicted, gold, inclusion, len(classes))
    y, fg, w = _indicators(gold[known], len(classes)), f[known], 1 / chance[known]
    draw = _Draw(w, confidence)
    mean_y, mean_f, mean_all = draw.mean(y), draw.mean(fg), f.mean(axis=0)
    y_off, f_off = y - mean_y, fg - mean_f
    power = np.clip(draw.slope(y_off, f_off), 0.0, 1.0)
    share = np.clip(mean_y + power * (mean_all - mean_f), 0.0, 1.0)
    trials = draw.trials(mean_y, y_off)
    gain = draw.spread(y_off, spent=1) / draw.spread(y_off - power * f_off, spent=2)
    low, high = wilson_effective(share, trials * np.maximum(gain, 1.0), confidence)
    gold_low, gold_high = wilson_effective(mean_y, trials, confidence)
    return [
        Share(
            label,
            naive=float(mean_all[k]),
            share=float(share[k]),
            low=float(low[k]),
            high=float(high[k]),
            classical_low=float(gold_low[k]),
            classical_high=float(gold_high[k]),
            rows=round(f[:, k].sum()),
            gold_rows=round(y[:, k].sum()),
        )
        for k, label in enumerate(classes)
    ]


def accuracy(right: NDArray[np.bool_], *, inclusion: FloatArray | None = None, confidence: float = 0.95) -> Measured | None:
    """How often it is right, with Wilson's interval.

    Args:
        right: (n,) one for every gold row. inclusion: (n,) the probability with which each was drawn; None: a uniform draw.
    Returns: None without rows.
    """
    if not len(right):
        return None
    w = np.ones(len(right)) if inclusion is None else 1 / np.asarray(inclusion, float)
    draw = _Draw(w, confidence, finite=False)
    y = np.asarray(right, float)[:, None]
    mean = draw.mean(y)
    low, high = wilson_effective(mean, draw.trials(mean, y - mean), confidence)
    return Measured(float(mean[0]), float(low[0]), float(high[0]), len(right))


def quality(
    classes: Sequence[str],
    labels: IntArray,
    gold: IntArray,
    *,
    inclusion: FloatArray | None = None,
    confidence: float = 0.95,
) -> list[Quality]:
    """Precision and recall of every class over the gold rows.

    Args:
        labels, gold: (N,) class index, -1 for none. inclusion: (N,) as in `label_shares`.
    """
    right = labels == gold

    def of(rows: NDArray[np.bool_]) -> Measured | None:
        return accuracy(right[rows], inclusion=None if inclusion is None else inclusion[rows], confidence=confidence)

    return [Quality(c, of((labels == k) & (gold >= 0)), of(gold == k)) for k, c in enumerate(classes)]


class _Draw:
    """Means and variances of gold rows that were drawn with probability 1 / w each; columns are classes."""

    def __init__(self, w: FloatArray, confidence: float, *, finite: bool = True) -> None:
        self.w = w / w.sum()
        u = w * np.maximum(w - 1, CERTAIN * w) if finite else w**2  # (1 - pi) / pi^2: what a row adds to the variance
        self.size = w.sum() ** 2 / u.sum()
        self.u = u / u.sum()
        self.rows, self.worth = len(w), 1 / (self.u**2).sum()
        self.added = critical(confidence) ** 2 / 4

    def mean(self, values: FloatArray) -> FloatArray:
        return np.asarray(self.w @ values)

    def slope(self, y: FloatArray, f: FloatArray) -> FloatArray:
        square = self.u @ f**2
        return np.asarray(np.divide(self.u @ (y * f), square, out=np.zeros_like(square), where=square > 0))

    def spread(self, off: FloatArray, spent: int) -> FloatArray:
        """Sum of squares with `spent` degrees of freedom used."""
        return np.asarray(self.rows**2 / max(self.rows - spent, 1) * (self.u @ off**2) + self.added)

    def trials(self, mean: FloatArray, off: FloatArray) -> FloatArray:
        """Effective sample size; of a uniform draw that of its rows without replacement."""
        plain, drawn = mean * (1 - mean), self.u @ off**2
        return np.asarray(self.size * (self.worth * plain + self.added) / (self.worth * drawn + self.added))


def _checked(
    predicted: NDArray[np.floating] | IntArray, gold: IntArray, inclusion: FloatArray | None, classes: int
) -> tuple[FloatArray, NDArray[np.bool_], FloatArray]:
    """Predictions as (N, L), which rows have gold, and the probability of each to have it."""
    f = _indicators(predicted, classes)
    if len(gold) != len(f) or f.shape[1] != classes:
        raise DataError(f"{f.shape} predictions do not fit {len(gold)} gold rows and {classes} classes")
    known = np.asarray((gold >= 0).reshape(len(gold), -1).all(axis=1), dtype=bool)
    if not known.any():
        raise DataError("no gold rows, so nothing corrects the shares: give gold labels for a random draw of rows")
    chance = np.full(len(f), known.mean()) if inclusion is None else np.asarray(inclusion, float)
    if chance.shape != known.shape or not ((chance > 0) & (chance <= 1)).all():
        raise DataError("inclusion must be one probability above 0 and at most 1 for every row")
    return f, known, chance


def _indicators(labels: NDArray[np.floating] | IntArray, classes: int) -> FloatArray:
    """(N,) indices -> (N, L) 0/1, a row of zeros for -1; (N, L) as it is."""
    if labels.ndim == 2:
        return np.asarray(labels, float)
    return np.asarray(labels[:, None] == np.arange(classes), float)
