"""Fitting a consensus: which method, why, and at what temperature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from llmlabel.annotation.consensus.ballots import (
    Ballots,
    FloatArray,
    IntArray,
    Training,
    best_temperature,
    distinct,
    losses_of,
    read,
    sharpened,
    training,
)
from llmlabel.annotation.consensus.crowdlab import crowdlab
from llmlabel.annotation.consensus.dawid_skene import dawid_skene, one_coin
from llmlabel.annotation.consensus.mace import mace
from llmlabel.annotation.consensus.stacking import stacked
from llmlabel.annotation.consensus.voting import alone, majority, weighted
from llmlabel.errors import ConfigError, DataError

LEAST_GOLD = 20  # rows; with fewer no method can be told from another
FOLDS = 5
CHUNK = 100_000  # rows predicted at once
STANDING = "stacked"  # the method that others must beat where there is gold


class Model(Protocol):
    @property
    def weights(self) -> FloatArray: ...

    def predict(self, ballots: Ballots) -> FloatArray: ...


METHODS: dict[str, Callable[[Training, int], Model]] = {
    "majority": majority, "weighted": weighted, "one_coin": one_coin, "mace": mace, "dawid_skene": dawid_skene,
    "crowdlab": crowdlab, "stacked": stacked,
}  # fmt: skip


@dataclass(frozen=True)
class Score:
    """On gold rows not seen in fitting: mean log-loss (nats) at the best temperature, its standard error, accuracy."""

    log_loss: float
    error: float
    accuracy: float


@dataclass(frozen=True)
class Fusion:
    """A fitted consensus, to be applied to any rows of the same annotators in the same order."""

    method: str
    why: str
    size: int
    model: Model
    temperature: float = 1.0
    scores: dict[str, Score] = field(default_factory=dict)

    @property
    def weights(self) -> FloatArray:
        """(A,) what a vote of each annotator counts, mean 1."""
        mean = self.model.weights.mean()
        return self.model.weights / mean if mean > 0 else np.ones_like(self.model.weights)

    def predict(self, votes: ArrayLike, probs: Sequence[ArrayLike | None] | None = None, classifier: Any = None) -> FloatArray:
        """(N, L). Raises: DataError, also for another number of annotators."""
        ballots = read(votes, self.size, probs, classifier)
        if ballots.annotators != len(self.model.weights):
            raise DataError(f"fitted on {len(self.model.weights)} annotators, applied to {ballots.annotators}")
        return self.apply(ballots)

    def apply(self, ballots: Ballots) -> FloatArray:
        """(N, L) of checked ballots; equal rows are worked out once."""
        if not ballots.graded:
            first, inverse, _ = distinct(ballots.votes, ballots.size)
            return self._chunks(ballots.take(first))[inverse]
        return self._chunks(ballots)

    def _chunks(self, ballots: Ballots) -> FloatArray:
        parts = [self._chunk(ballots.take(slice(i, i + CHUNK))) for i in range(0, len(ballots), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, ballots.size))

    def _chunk(self, ballots: Ballots) -> FloatArray:
        probs = self.model.predict(ballots)
        heard = ballots.answered if ballots.classifier is None else np.ones(len(ballots), dtype=bool)
        if self.temperature != 1:  # a prior is no answer that could be too sure
            probs[heard] = sharpened(probs[heard], self.temperature)
        return probs


def folds_of(rows: int, folds: int, seed: int) -> IntArray:
    """(rows,) the fold of each, as even as can be."""
    return np.random.default_rng(seed).permutation(np.arange(rows) % folds)


def without(gold: IntArray, rows: IntArray) -> IntArray:
    """Gold with the labels of some rows hidden."""
    left = gold.copy()
    left[rows] = -1
    return left


def fit_ballots(ballots: Ballots, gold: IntArray, method: str, seed: int, least: int = LEAST_GOLD) -> Fusion:
    """Args: gold: (N,), -1 where unknown. method: see `consensus.fit`. least: gold rows from which on they choose the method."""
    if method not in ("auto", *METHODS):
        raise ConfigError(f"no consensus method {method!r}; there are: auto, {', '.join(METHODS)}")
    if ballots.annotators == 1:
        model: Model = alone(training(ballots, gold, seed), seed)
        return Fusion("single", "one annotator: its answers stand as they are", ballots.size, model)
    rows = int((gold >= 0).sum())
    if method == "auto" and rows < least:
        return _by_default(ballots, rows, seed)
    tried = [m for m in METHODS if m != "crowdlab" or ballots.classifier is not None] if method == "auto" else [method]
    scores, temperatures = _compare(ballots, gold, tried, seed) if rows >= least else ({}, {})
    chosen, why = _choose(scores, rows) if method == "auto" else (method, "as asked for")
    model = METHODS[chosen](training(ballots, gold, seed), seed)
    shown = {m: score for m, (score, _) in scores.items()}
    return Fusion(chosen, why, ballots.size, model, temperatures.get(chosen, 1.0), shown)


def _by_default(ballots: Ballots, rows: int, seed: int) -> Fusion:
    """Little or no gold: gold rows could not choose, and are left to say how good the result is."""
    why = f"{rows} gold rows are fewer than the {LEAST_GOLD} that could choose a method" if rows else "no gold rows to choose by"
    blind = training(ballots, np.full(len(ballots), -1, dtype=np.int64), seed)
    if ballots.annotators == 2:
        why += "; of two annotators neither can be preferred: their mean"
        return Fusion("majority", why, ballots.size, majority(blind, seed))
    why += (
        ": each annotator counts by its agreement with the others, and copies share their weight; Dawid-Skene and MACE would "
        "take annotators as independent and become too sure"
    )
    return Fusion("weighted", why, ballots.size, weighted(blind, seed))


def _compare(
    ballots: Ballots, gold: IntArray, methods: Sequence[str], seed: int
) -> tuple[dict[str, tuple[Score, FloatArray]], dict[str, float]]:
    """Score and losses (n,) of each method on gold rows it has not seen, and its best temperature there.

    Each gets the one temperature that suits it, so that a method is not refused for being too sure.
    """
    rows = np.flatnonzero(gold >= 0)
    fold = folds_of(len(rows), FOLDS, seed)
    unseen = {m: np.zeros((len(rows), ballots.size)) for m in methods}
    for k in range(FOLDS):
        held = fold == k
        seen = training(ballots, without(gold, rows[held]), seed)
        for m in methods:
            unseen[m][held] = METHODS[m](seen, seed).predict(ballots.take(rows[held]))
    truth, scores, temperatures = gold[rows], {}, {}
    for m, probs in unseen.items():
        temperatures[m] = best_temperature(probs, truth)
        losses = losses_of(sharpened(probs, temperatures[m]), truth)
        score = (float(losses.mean()), float(losses.std() / np.sqrt(len(rows))), float((probs.argmax(axis=1) == truth).mean()))
        scores[m] = (Score(*(round(s, 4) for s in score)), losses)
    return scores, temperatures


def _choose(scores: dict[str, tuple[Score, FloatArray]], rows: int) -> tuple[str, str]:
    """`stacked` stands: it is the shares of votes plus what gold rows prove. Another takes its place when its log-loss is
    lower by more than one standard error of the difference."""
    best = min(scores, key=lambda m: float(scores[m][1].mean()))
    ahead = scores[STANDING][1] - scores[best][1]
    on = f"on {rows} gold rows, cross-validated over {len(scores)} methods"
    least, standing = (scores[m][0].log_loss for m in (best, STANDING))
    if best == STANDING:
        return best, f"the smallest log-loss ({least:.3f}) {on}"
    if ahead.mean() > ahead.std() / np.sqrt(rows):
        return best, f"log-loss {least:.3f} against {standing:.3f} of {STANDING} {on}"
    return STANDING, f"log-loss {standing:.3f}, and no other is better by more than one standard error {on}"
