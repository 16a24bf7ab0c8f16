"""One distribution over classes from the answers of several annotators.

Votes of several LLMs are not independent: models err on the same texts. Methods that take them as such (Dawid-Skene, MACE)
become far too sure, and two copies of one model outvote the rest. So without gold votes are counted, never multiplied; with
gold rows the method is chosen by what it says of gold rows it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from llmlabel.annotation.consensus.ballots import Ballots, BoolArray, FloatArray, IntArray, read, read_gold
from llmlabel.annotation.consensus.fusion import FOLDS, METHODS, Fusion, Score, fit_ballots, folds_of, without
from llmlabel.errors import DataError

__all__ = ["METHODS", "Consensus", "Fusion", "Score", "cross_fitted", "fit", "fuse"]


@dataclass(frozen=True)
class Consensus:
    """`probs` (N, L) with the class prior where nobody answered, `answered` (N,), the method and `why` it was taken, what a vote
    of each annotator counts (A,), mean 1, and the scores of the methods that were compared."""

    probs: FloatArray
    answered: BoolArray
    method: str
    why: str
    weights: FloatArray
    scores: dict[str, Score] = field(default_factory=dict)

    @property
    def labels(self) -> IntArray:
        """(N,) the likeliest class, -1 where nobody answered."""
        return np.where(self.answered, self.probs.argmax(axis=1), -1)


def fit(
    votes: ArrayLike,
    classes: Sequence[str],
    *,
    gold: ArrayLike | None = None,
    probs: Sequence[ArrayLike | None] | None = None,
    classifier: Any = None,
    method: str = "auto",
    seed: int = 0,
) -> Fusion:
    """Learn how to bring the annotators together.

    Args:
        votes: (N, A) class index, -1 for no usable answer. classes: L ids. gold: (N,) class index, -1 where unknown.
        probs: per annotator (N, L) or None. classifier: (N, L), of a model that did not learn from these rows.
        method: one of `METHODS`, or `auto`. One annotator always stands as it is (`single`).
    Raises: DataError for arrays that do not fit or no usable answer at all; ConfigError for an unknown method.
    """
    ballots, known = _read(votes, classes, gold, probs, classifier)
    return fit_ballots(ballots, known, method, seed)


def fuse(
    votes: ArrayLike,
    classes: Sequence[str],
    *,
    gold: ArrayLike | None = None,
    probs: Sequence[ArrayLike | None] | None = None,
    classifier: Any = None,
    method: str = "auto",
    seed: int = 0,
) -> Consensus:
    """`fit` and apply to the same rows. Gold rows were seen in fitting: to say how good it is, use `cross_fitted`."""
    ballots, known = _read(votes, classes, gold, probs, classifier)
    fusion = fit_ballots(ballots, known, method, seed)
    return _consensus(fusion, ballots, fusion.apply(ballots))


def cross_fitted(
    votes: ArrayLike,
    classes: Sequence[str],
    *,
    gold: ArrayLike | None = None,
    probs: Sequence[ArrayLike | None] | None = None,
    classifier: Any = None,
    method: str = "auto",
    folds: int = FOLDS,
    seed: int = 0,
) -> Consensus:
    """As `fuse`, but each gold row is predicted by a consensus chosen and fitted without its gold label.

    What is said about quality must be worked out on these.
    """
    ballots, known = _read(votes, classes, gold, probs, classifier)
    fusion = fit_ballots(ballots, known, method, seed)
    found = fusion.apply(ballots)
    rows = np.flatnonzero(known >= 0)
    if len(rows) > 1 and fusion.method != "single":
        fold = folds_of(len(rows), min(folds, len(rows)), seed)
        least = 0 if fusion.scores else len(rows) + 1  # the parts are fitted as the whole was
        for k in range(int(fold.max()) + 1):
            held = rows[fold == k]
            found[held] = fit_ballots(ballots, without(known, held), method, seed, least).apply(ballots.take(held))
    return _consensus(fusion, ballots, found)


def _read(votes: ArrayLike, classes: Sequence[str], gold: Any, probs: Any, classifier: Any) -> tuple[Ballots, IntArray]:
    ballots = read(votes, len(classes), probs, classifier)
    if not ballots.answered.any():
        raise DataError("no annotator gave a usable answer to any row: there is nothing to bring together")
    return ballots, read_gold(gold, len(ballots), ballots.size)


def _consensus(fusion: Fusion, ballots: Ballots, probs: FloatArray) -> Consensus:
    return Consensus(probs, ballots.answered, fusion.method, fusion.why, fusion.weights, fusion.scores)
