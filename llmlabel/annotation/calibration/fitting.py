"""Confidence that means what it says: of rows at .8 eight in ten are right. Learned from a few gold rows.

Four maps are compared by cross-validated log-loss of "the top label is right": none (identity), one temperature for the whole
distribution, a logistic map of the top confidence (and of further features), and an isotonic one. All keep the top label.
Sources: Guo et al. 2017, arXiv 1706.04599 (temperature); Platt 1999; Zadrozny and Elkan 2002 (isotonic).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from llmlabel.annotation.calibration.maps import Kind, Map, isotonic, logistic, temperature
from llmlabel.annotation.consensus.ballots import BoolArray, FloatArray, IntArray, read_gold
from llmlabel.errors import DataError
from llmlabel.stats import wilson

LEAST_GOLD = 20  # rows; with fewer the identity stays
FOLDS = 5
FITS: dict[str, Callable[[FloatArray, IntArray, Mapping[str, FloatArray]], Map]] = {
    "temperature": temperature, "logistic": logistic, "isotonic": isotonic,
}  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """A fitted map, `why` it was taken, over how many gold `rows`, and the log-loss of every map that was compared."""

    map: Map
    why: str
    rows: int
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return self.map.kind

    def apply(self, probs: ArrayLike, features: Mapping[str, ArrayLike] | None = None) -> FloatArray:
        """(N, L) calibrated, rows sum to 1; the top label stays on top, so that the confidence is the maximum of a row.

        Args:
            features: name -> (N,) in [0, 1], NaN where unknown; the ones it was fitted with.
        Raises: DataError when features are missing or shapes differ.
        """
        return self.map.apply(*_inputs(probs, features))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Raises: DataError when the text is not what `to_json` wrote."""
        try:
            read = json.loads(text)
            numbers: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in read.pop("map").items()}
            known = Map(**numbers)
            found = cls(known, **read)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"not a saved calibration: {error}") from error
        if known.kind not in get_args(Kind):
            raise DataError(f"not a saved calibration: unknown kind {known.kind!r}")
        return found


def fit(
    probs: ArrayLike, gold: ArrayLike | None, *, features: Mapping[str, ArrayLike] | None = None, seed: int = 0
) -> Calibration:
    """Choose and fit a map.

    Args:
        probs: (N, L), of a model that did not see the gold labels. gold: (N,) class index, -1 where unknown, or None.
        features: name -> (N,) in [0, 1], NaN where unknown, such as a black box's vote share and stated confidence.
    Returns: the identity, with a reason, where gold is missing or too little to learn from.
    Raises: DataError for arrays that do not fit.
    """
    known, extra = _inputs(probs, features)
    truth = read_gold(gold, len(known), known.shape[1])
    rows = np.flatnonzero(truth >= 0)
    reason = _too_little(known[rows], truth[rows])
    if reason:
        return Calibration(Map("identity"), reason, len(rows))
    return _choose(known[rows], truth[rows], {k: v[rows] for k, v in extra.items()}, seed)


def cross_fitted(
    probs: ArrayLike,
    gold: ArrayLike | None,
    *,
    features: Mapping[str, ArrayLike] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[FloatArray, Calibration]:
    """Calibrated (N, L) in which each gold row went through a map chosen and fitted without it, and the map of all other rows.

    What is said about quality must be worked out on these. Args and errors: as `fit`; probs must themselves be cross-fitted.
    """
    known, extra = _inputs(probs, features)
    truth = read_gold(gold, len(known), known.shape[1])
    chosen = fit(known, truth, features=extra, seed=seed)
    found = chosen.map.apply(known, extra)
    rows = np.flatnonzero(truth >= 0)
    if chosen.scores:
        fold = _folds(len(rows), folds, seed)
        for k in range(int(fold.max()) + 1):
            rest, held = rows[fold != k], rows[fold == k]
            part = _choose(known[rest], truth[rest], {n: v[rest] for n, v in extra.items()}, seed)
            found[held] = part.map.apply(known[held], {n: v[held] for n, v in extra.items()})
    return found, chosen


def _inputs(probs: ArrayLike, features: Mapping[str, ArrayLike] | None) -> tuple[FloatArray, dict[str, FloatArray]]:
    known = np.asarray(probs, dtype=np.float64)
    if known.ndim != 2 or known.shape[1] < 2 or not np.isfinite(known).all() or (known < 0).any():
        raise DataError(f"probabilities must be an (N, L) array of finite numbers of at least 0, L 2 or more; got {known.shape}")
    extra = {name: np.asarray(values, dtype=np.float64) for name, values in (features or {}).items()}
    wrong = [name for name, values in extra.items() if values.shape != (len(known),)]
    if wrong:
        raise DataError(f"feature {wrong[0]} must hold one number for each of {len(known)} rows, got {extra[wrong[0]].shape}")
    return known, extra


def _too_little(probs: FloatArray, truth: IntArray) -> str:
    """Why nothing can be learned, or an empty string."""
    if not len(truth):
        return "no gold rows: confidences are as the model gave them, and nobody knows how right they are"
    if len(truth) < LEAST_GOLD:
        return f"{len(truth)} gold rows are too few to calibrate on (at least {LEAST_GOLD}): confidences are as they were"
    if len(np.unique(truth)) == 1:
        return f"all {len(truth)} gold rows have the same class: confidences are as they were"
    return ""


def _folds(rows: int, folds: int, seed: int) -> IntArray:
    return np.random.default_rng(seed + 1).permutation(np.arange(rows) % min(folds, rows))


def _choose(probs: FloatArray, truth: IntArray, features: Mapping[str, FloatArray], seed: int) -> Calibration:
    """The map with the smallest cross-validated log-loss, where it beats the identity by more than one standard error of the
    difference: a map learned from few rows adds noise of its own."""
    fold = _folds(len(truth), FOLDS, seed)
    right = probs.argmax(axis=1) == truth
    losses = {"identity": _losses(probs.max(axis=1), right)}
    for name, fit_map in FITS.items():
        unseen = np.zeros(len(truth))
        for k in range(int(fold.max()) + 1):
            rest, held = fold != k, fold == k
            part = fit_map(probs[rest], truth[rest], {n: v[rest] for n, v in features.items()})
            unseen[held] = part.apply(probs[held], {n: v[held] for n, v in features.items()}).max(axis=1)
        losses[name] = _losses(unseen, right)
    scores = {name: round(float(values.mean()), 4) for name, values in losses.items()}
    best = min(losses, key=lambda name: float(losses[name].mean()))
    gain = losses["identity"] - losses[best]
    on = f"{len(truth)} gold rows, cross-validated"
    if gain.mean() <= gain.std() / np.sqrt(len(truth)):
        return Calibration(
            Map("identity"), f"no map is better than none by more than one standard error on {on}", len(truth), scores
        )
    why = f"log-loss of the confidence {scores[best]:.3f} against {scores['identity']:.3f} before, on {on}"
    return Calibration(FITS[best](probs, truth, features), why, len(truth), scores)


def _losses(confidence: FloatArray, right: BoolArray) -> FloatArray:
    """(n,) log-losses of "the top label is right"."""
    sure = np.clip(confidence, 1e-6, 1 - 1e-6)
    return np.asarray(-np.where(right, np.log(sure), np.log(1 - sure)))


def reliability(confidence: ArrayLike, right: ArrayLike, bins: int = 10) -> list[dict[str, Any]]:
    """Bins of about equal numbers of rows; rows of the same confidence are never parted.

    Args:
        confidence: (n,) in [0, 1]. right: (n,) bool.
    Returns: low, high (confidences in the bin), rows, confidence (mean), accuracy, low95, high95 (Wilson), from low to high.
    Raises: DataError when the arrays do not fit or are empty.
    """
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    if sure.ndim != 1 or sure.shape != hit.shape or not len(sure):
        raise DataError(f"confidence and right must be arrays of one length, not empty; got {sure.shape} and {hit.shape}")
    last = -(-np.arange(1, bins + 1) * len(sure) // bins) - 1  # of each bin, in order of confidence
    edges = np.unique(np.sort(sure)[last])
    place = np.searchsorted(edges, sure, side="left")
    found = []
    for k in np.unique(place):
        here = place == k
        low95, high95 = wilson(int(hit[here].sum()), int(here.sum()))
        found.append({
            "low": float(sure[here].min()), "high": float(sure[here].max()), "rows": int(here.sum()),
            "confidence": float(sure[here].mean()), "accuracy": float(hit[here].mean()), "low95": low95, "high95": high95,
        })  # fmt: skip
    return found


def ece(confidence: ArrayLike, right: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error, 0 to 1: the mean gap between confidence and accuracy over `reliability`'s bins.

    With few rows it is above 0 also for perfect confidences: about .05 with 100 rows. Raises: as `reliability`.
    """
    found = reliability(confidence, right, bins)
    rows = sum(b["rows"] for b in found)
    return float(sum(b["rows"] * abs(b["confidence"] - b["accuracy"]) for b in found) / rows)
