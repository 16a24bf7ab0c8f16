"""The maps of a confidence that `calibration` chooses among; plain numbers, so that they can be saved as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmlabel.annotation.consensus.ballots import FloatArray, IntArray, best_temperature, sharpened
from llmlabel.errors import DataError

Kind = Literal["identity", "temperature", "logistic", "isotonic"]
EDGE = 0.005  # confidences are kept this far from 0 and 1 before their log-odds are taken
RIDGE = 1.0  # scikit-learn's C of the logistic map, on standardised inputs


@dataclass(frozen=True)
class Map:
    """Args:
    temperature: above 1 softens. x, y: knots of the isotonic map. names: features of the logistic map, after the
        confidence. centre, spread, slope: (1 + features,) of its log-odds. intercept: its own.
    """

    kind: Kind
    temperature: float = 1.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    centre: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    slope: tuple[float, ...] = ()
    intercept: float = 0.0

    def apply(self, probs: FloatArray, features: Mapping[str, FloatArray]) -> FloatArray:
        """(N, L). Raises: DataError when a feature is missing."""
        if self.kind == "identity":
            return probs.copy()
        if self.kind == "temperature":
            return sharpened(probs, self.temperature)
        if self.kind == "isotonic":
            return with_top(probs, np.interp(probs.max(axis=1), self.x, self.y))
        missing = [name for name in self.names if name not in features]
        if missing:
            raise DataError(f"the calibration was fitted with the feature {missing[0]}, which is not given")
        inputs = _standard(probs, {n: features[n] for n in self.names}, np.array(self.centre), np.array(self.spread))
        return with_top(probs, 1 / (1 + np.exp(-(inputs @ np.array(self.slope) + self.intercept))))


def with_top(probs: FloatArray, confidence: FloatArray) -> FloatArray:
    """Rows whose top label has the given confidence (at least 1 / L) and still is the top; the others share what is left in
    proportion, and as evenly as it takes to stay below."""
    size, rows = probs.shape[1], np.arange(len(probs))
    best = probs.argmax(axis=1)
    top = np.clip(confidence, 1 / size + 1e-6, 1.0)
    others = probs.copy()
    others[rows, best] = 0.0
    sums = others.sum(axis=1)
    even = (1 - top) / (size - 1)
    share = np.where(sums[:, None] > 0, others / np.maximum(sums, 1e-300)[:, None], 1 / (size - 1)) * (1 - top)[:, None]
    share[rows, best] = 0.0
    most = share.max(axis=1)
    limit = top - 1e-9
    mix = np.where(most > limit, (most - limit) / np.maximum(most - even, 1e-12), 0.0)[:, None]
    found = (1 - mix) * share + mix * even[:, None]
    found[rows, best] = top
    return np.asarray(found)


def temperature(probs: FloatArray, truth: IntArray, features: Mapping[str, FloatArray]) -> Map:
    return Map("temperature", best_temperature(probs, truth))


def isotonic(probs: FloatArray, truth: IntArray, features: Mapping[str, FloatArray]) -> Map:
    """Non-decreasing steps; two pseudo-rows at the overall accuracy keep the ends of few rows from 0 and 1."""
    from sklearn.isotonic import IsotonicRegression

    sure, right = probs.max(axis=1), (probs.argmax(axis=1) == truth).astype(float)
    mean = (right.sum() + 1) / (len(right) + 2)
    ends = np.array([sure.min(), sure.max()])
    fitted = IsotonicRegression(out_of_bounds="clip").fit(np.concatenate([sure, ends]), np.concatenate([right, [mean, mean]]))
    values = np.clip(fitted.y_thresholds_, 1 / (len(right) + 2), 1 - 1 / (len(right) + 2))
    return Map("isotonic", x=_plain(fitted.X_thresholds_), y=_plain(values))


def logistic(probs: FloatArray, truth: IntArray, features: Mapping[str, FloatArray]) -> Map:
    """Log-odds of being right are linear in those of the confidence and the features; constant where all are right or wrong."""
    from sklearn.linear_model import LogisticRegression

    right = probs.argmax(axis=1) == truth
    names = tuple(sorted(features))
    odds = _odds(probs, {n: features[n] for n in names})
    seen = ~np.isnan(odds)
    count = np.maximum(seen.sum(axis=0), 1)
    centre = np.where(seen, odds, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(seen, odds - centre, 0.0) ** 2).sum(axis=0) / count)
    spread = np.where(spread > 1e-9, spread, 1.0)
    share = (right.sum() + 1) / (len(right) + 2)
    slope, intercept = np.zeros(1 + len(names)), float(np.log(share / (1 - share)))
    if right.any() and not right.all():
        fitted = LogisticRegression(C=RIDGE).fit(np.where(seen, (odds - centre) / spread, 0.0), right)
        slope, intercept = fitted.coef_[0], float(fitted.intercept_[0])
    return Map("logistic", names=names, centre=_plain(centre), spread=_plain(spread), slope=_plain(slope), intercept=intercept)


def _plain(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _odds(probs: FloatArray, features: Mapping[str, FloatArray]) -> FloatArray:
    """(N, 1 + features) log-odds of the confidence and of each feature."""
    raw = np.column_stack([probs.max(axis=1), *features.values()])
    kept = np.clip(raw, EDGE, 1 - EDGE)
    return np.asarray(np.log(kept / (1 - kept)))


def _standard(probs: FloatArray, features: Mapping[str, FloatArray], centre: FloatArray, spread: FloatArray) -> FloatArray:
    """What was not said counts as the mean."""
    return np.nan_to_num((_odds(probs, features) - centre) / spread, nan=0.0)
