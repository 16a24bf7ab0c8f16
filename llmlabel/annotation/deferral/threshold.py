"""Which rows a machine may decide alone, with a promise about the errors among them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmlabel.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

# Thresholds are tried in this order, whatever the data: every .05, and above .95 at each halving of the rest, since
# confidences of language models crowd below 1. Fewer steps promise more: each one is a chance to stop early.
GRID: FloatArray = np.concatenate([[1.0], 1 - 0.05 * 0.5 ** np.arange(16.0, 0, -1), np.linspace(0.95, 0, 20)])
SLACK = 1e-9  # a share of .7 written as 7/10 or as 1 - 3/10 is the same share
FIRST_STEP = 10  # the walk starts where a tenth of the gold is accepted: one error among the first few rows ends no walk


@dataclass(frozen=True)
class Deferral:
    """The outcome of `choose_threshold`. `threshold` is None where nothing can be promised: every row goes to people.

    rows: gold rows. accepted, errors: gold rows at or above the threshold, and the wrong ones among them (at the first step of
    the walk where nothing can be promised; 0 where there are too few rows for a first step). bound: the upper bound of their
    error rate. needed: accepted rows it takes at least, with no error among them.
    """

    threshold: float | None
    alpha: float
    delta: float
    rows: int
    accepted: int
    errors: int
    bound: float
    needed: int
    why: str

    @property
    def coverage(self) -> float:
        """Share of gold rows accepted, 0 where nothing can be promised."""
        return self.accepted / self.rows if self.threshold is not None else 0.0

    def accepts(self, confidence: ArrayLike) -> BoolArray:
        """(N,) bool: rows a machine may decide alone; NaN is never accepted."""
        return at_least(np.asarray(confidence, dtype=np.float64), self.threshold)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"coverage": self.coverage}


class Curve(NamedTuple):
    """Risk against coverage, one point for every distinct confidence, highest first."""

    threshold: FloatArray
    coverage: FloatArray
    error: FloatArray


class Step(NamedTuple):
    """Where a walk ended. `accepted` and `errors` of its last good step, or of the first where that was none (`good` False)."""

    at: int
    accepted: int
    errors: int
    bound: float
    good: bool

    @property
    def threshold(self) -> float | None:
        return float(GRID[self.at]) if self.good else None


def choose_threshold(confidence: ArrayLike, right: ArrayLike, *, alpha: float, delta: float = 0.1, fewest: int = 30) -> Deferral:
    """The lowest threshold at which P(error rate among accepted rows > alpha) <= delta.

    The walk goes down `GRID` and stops at the first step whose exact binomial upper bound is above alpha (fixed-sequence
    testing: to end too low it must pass the one step where the true error rate first exceeds alpha, which has probability
    delta). Steps that accept too few rows are passed over; that choice sees confidences only, never errors.
    Rows of equal confidence are accepted or deferred together.

    Args:
        confidence: (N,) in [0, 1] of gold rows drawn at random from the rows to be decided. It must come from a model that
            was not fitted on these very rows: fitted on others, or cross-fitted (as `consensus.cross_fitted`, with all gold
            for the other rows: kept the promise in `bench/deferral.py`, and accepted more than a fit on half of the gold).
        right: (N,) bool, whether the label was right. alpha: the error rate allowed among accepted rows.
        delta: the probability that the promise fails. fewest: rows a step must accept to be tried.
    Raises: ConfigError for an alpha or delta outside (0, 1); DataError for lengths that differ or confidences outside [0, 1].
    Source: Jung et al. 2024, Trust or Escalate (arXiv 2407.18370); Angelopoulos et al. 2021, Learn then Test (2110.01052).
    """
    scores, wrong = checked(confidence, right, alpha, delta)
    accepted, errors = counts(scores, wrong)
    step = walk(accepted, errors, alpha=alpha, delta=delta, fewest=fewest)
    rows = len(scores)
    known = (step.accepted, step.errors, step.bound) if step else (0, 0, 1.0)
    why = explain(step, alpha, delta, rows, fewest)
    return Deferral(step.threshold if step else None, alpha, delta, rows, *known, fewest_rows(alpha, delta), why)


def walk(accepted: IntArray, errors: IntArray, *, alpha: float, delta: float, fewest: int = 30) -> Step | None:
    """Fixed-sequence testing down `GRID`.

    Args:
        accepted, errors: (G,) gold rows accepted at each threshold, and how many of them are wrong; the last accepts most.
    Returns: the last step before the first that fails; None where no step accepts rows enough to be tried.
    """
    tried = np.flatnonzero(accepted >= max(fewest, fewest_rows(alpha, delta), accepted[-1] // FIRST_STEP))
    if not len(tried):
        return None
    start = int(tried[0])
    bounds = upper_bound(errors[start:], accepted[start:], delta)
    failed = np.flatnonzero(bounds > alpha)
    passed = int(failed[0]) if len(failed) else len(bounds)
    at = max(passed - 1, 0)
    return Step(start + at, int(accepted[start + at]), int(errors[start + at]), float(bounds[at]), passed > 0)


def counts(scores: FloatArray, wrong: BoolArray) -> tuple[IntArray, IntArray]:
    """(G,) rows accepted at every threshold of `GRID`, and the wrong ones among them."""
    order = np.argsort(-scores, kind="stable")
    accepted = len(scores) - np.searchsorted(scores[order][::-1], GRID - SLACK)
    return accepted, np.concatenate([[0], np.cumsum(wrong[order])])[accepted]


def curve(confidence: ArrayLike, right: ArrayLike) -> Curve:
    """Error rate among the most confident rows, for every share of rows accepted; nothing is promised by it."""
    scores, wrong = checked(confidence, right)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-1.0))  # ties enter together
    taken = last + 1
    return Curve(scores[order][last], taken / max(len(scores), 1), np.cumsum(wrong[order])[last] / taken)


def upper_bound(errors: ArrayLike, rows: ArrayLike, delta: float) -> FloatArray:
    """Exact one-sided upper bound (Clopper-Pearson) at level delta of an error rate; 1 where there are no rows."""
    from scipy.special import betaincinv

    k, n = np.asarray(errors, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    return np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1), 1 - delta), 1.0)


def fewest_rows(alpha: float, delta: float) -> int:
    """Accepted rows it takes to promise an error rate of alpha when none of them is wrong."""
    return math.ceil(math.log(delta) / math.log1p(-alpha) - SLACK)


def at_least(confidence: FloatArray, threshold: float | None) -> BoolArray:
    """(N,) bool; none where there is no threshold, and never for NaN."""
    if threshold is None:
        return np.zeros(len(confidence), dtype=bool)
    return np.asarray(confidence >= threshold - SLACK)


def checked(confidence: ArrayLike, right: ArrayLike, *shares: float) -> tuple[FloatArray, BoolArray]:
    """Confidences, and which rows are wrong, after a look at both and at alpha and delta."""
    if not all(0 < share < 1 for share in shares):
        raise ConfigError(f"alpha and delta are shares between 0 and 1, not {' and '.join(map(str, shares))}")
    scores, wrong = np.asarray(confidence, dtype=np.float64), ~np.asarray(right, dtype=bool)
    if scores.shape != wrong.shape or scores.ndim != 1:
        raise DataError(f"confidences of shape {scores.shape} do not fit right answers of shape {wrong.shape}; both are (N,)")
    outside = ~((scores >= 0) & (scores <= 1 + SLACK))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(f"row {row} has a confidence of {scores[row]}; confidences are between 0 and 1")
    return scores, wrong


def explain(step: Step | None, alpha: float, delta: float, rows: int, fewest: int) -> str:
    """In one sentence, what is promised, or why nothing is."""
    aim, needed = f"{100 * (1 - alpha):.4g}% precision", fewest_rows(alpha, delta)
    if step is None:
        why = (
            f"even with no error at least {needed} accepted rows are needed at delta {delta:g}"
            if needed >= fewest
            else f"at least {fewest} accepted rows are asked for"
        )
        return f"gold of {rows} rows cannot promise {aim}: {why}"
    if not step.good:
        able = int((upper_bound(np.arange(step.errors + 1), step.accepted, delta) <= alpha).sum()) - 1
        return (
            f"the {step.accepted} most confident of {rows} gold rows hold {step.errors} wrong ones, "
            f"and {aim} at delta {delta:g} allows {able}"
        )
    return (
        f"{aim} at delta {delta:g}: of {rows} gold rows {step.accepted} have a confidence of {step.threshold:.6g} or more, "
        f"{step.errors} of them wrong, so that at most {100 * step.bound:.3g}% are"
    )
