"""Any number of labels per text: from what annotators named to a calibrated probability of every label.

Each (text, label) pair is a row of one logistic regression over what the annotators said of it, with an intercept per
label that shrinks to the common one: a hundred gold texts are enough to fit it, since all labels share its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmlabel.annotation.panel import BoolArray, FloatArray, IntArray

FEWEST_GOLD = 20
FOLDS = 5
CUTS = np.linspace(0.1, 0.9, 33)
CLIP = 1e-4


@dataclass(frozen=True)
class Marginals:
    """`probs` (N, L): of each label's being right; gold rows by a model that did not see them. `chosen` (N, L): labels taken,
    those above `cut`. `fitted`: whether gold taught it; else `probs` are shares of annotators."""

    probs: FloatArray
    chosen: BoolArray
    cut: float
    fitted: bool
    why: str


def fuse(said: BoolArray, told: FloatArray, gold: IntArray, seed: int = 0) -> Marginals:
    """Bring annotators together.

    Args:
        said: (N, A, L) labels named. told: (N, A, L) each label's probability as told, NaN where none was. gold: (N, L) 1, 0
            or -1 where unknown.
    """
    shares = np.where(np.isnan(told), said, np.maximum(told, said * 0.5)).mean(axis=1)
    known = np.flatnonzero((gold >= 0).all(axis=1))
    truth = gold[known] == 1
    if len(known) < FEWEST_GOLD or truth.all() or not truth.any():
        why = f"{len(known)} gold rows are too few to learn from" if len(known) else "no gold: nothing to calibrate on"
        return Marginals(shares, said.mean(axis=1) >= 0.5, 0.5, False, f"{why}; probabilities are shares of what was said")
    features = _features(said, told)
    probs = _fit(features[known], truth, seed).predict(features)
    fold = np.random.default_rng(seed).permutation(np.arange(len(known)) % FOLDS)
    for k in range(FOLDS):
        seen, held = known[fold != k], known[fold == k]
        probs[held] = _fit(features[seen], gold[seen] == 1, seed).predict(features[held])
    cut = best_cut(probs[known], truth)
    chosen = _chosen(probs, cut, always_one=bool(truth[:, :-1].any(axis=1).all()))
    for k in range(FOLDS):  # what is said of gold rows is decided by a cut they had no part in
        held = known[fold == k]
        own = best_cut(probs[known[fold != k]], truth[fold != k])
        chosen[held] = _chosen(probs[held], own, always_one=bool(truth[fold != k][:, :-1].any(axis=1).all()))
    return Marginals(probs, chosen, cut, True, f"learned from {len(known)} gold rows, cut at {cut:.3f} for the best micro-F1")


def best_cut(probs: FloatArray, truth: BoolArray) -> float:
    """The one probability above which labels are taken that gives the best micro-F1."""
    taken = probs[:, :, None] > CUTS
    right = (taken & truth[:, :, None]).sum(axis=(0, 1))
    f1 = 2 * right / np.maximum(taken.sum(axis=(0, 1)) + truth.sum(), 1)
    return float(CUTS[np.argmax(f1)])


def scores(chosen: BoolArray, truth: BoolArray) -> dict[str, float]:
    """Micro and macro F1 over labels that occur, and the share of texts whose labels are exactly right.

    Args: chosen, truth: (n, L).
    """
    hits, named, there = (chosen & truth).sum(0), chosen.sum(0), truth.sum(0)
    each = 2 * hits / np.maximum(named + there, 1)
    occurs = there > 0
    return {
        "micro_f1": float(2 * hits.sum() / max(named.sum() + there.sum(), 1)),
        "macro_f1": float(each[occurs].mean()) if occurs.any() else 0.0,
        "accuracy": float((chosen == truth).all(axis=1).mean()),
    }


def confidence(raw: FloatArray, taken: IntArray, right: BoolArray, known: IntArray, seed: int = 0) -> FloatArray:
    """(N,) the chance that all labels of a text are right; gold rows by a model that did not see them.

    Args:
        raw: (N,) what it were if labels were independent. taken: (N,) how many labels. right: (N,). known: gold rows.
    """
    from sklearn.linear_model import LogisticRegression

    features = np.column_stack([np.log(np.clip(raw, 1e-9, 1)), taken])
    if right[known].all() or not right[known].any():
        return np.full(len(raw), float(right[known].mean()))

    def fit(rows: IntArray) -> FloatArray:
        if right[rows].all() or not right[rows].any():
            return np.full(len(raw), float(right[rows].mean()))
        return np.asarray(LogisticRegression().fit(features[rows], right[rows]).predict_proba(features)[:, 1])

    found = fit(known)
    fold = np.random.default_rng(seed).permutation(np.arange(len(known)) % FOLDS)
    for k in range(FOLDS):
        held = known[fold == k]
        found[held] = fit(known[fold != k])[held]
    return found


def _chosen(probs: FloatArray, cut: float, always_one: bool) -> BoolArray:
    """Labels above the cut; none fits only where nothing else is. `always_one`: then the likeliest label is taken."""
    taken = probs > cut
    taken[:, -1] = False
    nothing = ~taken.any(axis=1)
    best = probs[:, :-1].argmax(axis=1) if always_one else probs.argmax(axis=1)
    taken[np.flatnonzero(nothing), best[nothing]] = True
    return np.asarray(taken)


def _features(said: BoolArray, told: FloatArray) -> FloatArray:
    """(N, L, F): per annotator whether it named the label, the label's log-odds, and whether there are any."""
    clipped = np.clip(np.nan_to_num(told, nan=0.5), CLIP, 1 - CLIP)
    odds = np.where(np.isnan(told), 0.0, np.log(clipped / (1 - clipped)))
    parts = np.stack([said.astype(float), odds, np.isnan(told).astype(float)], axis=-1)  # (N, A, L, 3)
    return np.asarray(np.moveaxis(parts, 1, 2).reshape(said.shape[0], said.shape[2], -1))


@dataclass(frozen=True)
class _Model:
    weights: FloatArray
    offsets: FloatArray  # (L,)

    def predict(self, features: FloatArray) -> FloatArray:
        return np.asarray(1 / (1 + np.exp(-(features @ self.weights + self.offsets))))


def _fit(features: FloatArray, truth: BoolArray, seed: int) -> _Model:
    from scipy.sparse import csr_matrix, hstack, identity, kron
    from sklearn.linear_model import LogisticRegression

    rows, labels, width = features.shape
    own: Any = kron(csr_matrix(np.ones((rows, 1))), identity(labels))  # which label a pair is about
    pairs = hstack([csr_matrix(features.reshape(-1, width)), own]).tocsr()
    model = LogisticRegression(C=1.0, max_iter=500).fit(pairs, truth.ravel())
    return _Model(model.coef_[0, :width], model.coef_[0, width:] + model.intercept_[0])
