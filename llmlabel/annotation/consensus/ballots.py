"""What several annotators said of the same texts, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmlabel.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FIT_ROWS = 10_000  # rows without gold that a model is fitted on: more change nothing that can be measured


@dataclass(frozen=True)
class Ballots:
    """The answers of A annotators to N texts over `size` classes.

    Args:
        votes: (N, A) class index, -1 for no usable answer.
        probs: per annotator (N, L), or None where only the votes are known; a row of NaN: only the vote is known.
        classifier: (N, L) probabilities of a classifier that saw none of the votes of a row, or None.
    """

    votes: IntArray
    size: int
    probs: tuple[FloatArray | None, ...]
    classifier: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.votes)

    @property
    def annotators(self) -> int:
        return int(self.votes.shape[1])

    @property
    def answered(self) -> BoolArray:
        """(N,): at least one usable answer."""
        return np.asarray((self.votes >= 0).any(axis=1))

    @property
    def graded(self) -> bool:
        """Rows may differ by more than their votes."""
        return self.classifier is not None or any(p is not None for p in self.probs)

    def take(self, rows: Any) -> Ballots:
        probs = tuple(None if p is None else p[rows] for p in self.probs)
        return Ballots(self.votes[rows], self.size, probs, None if self.classifier is None else self.classifier[rows])

    def told(self, annotator: int) -> BoolArray:
        """(N,): the annotator answered with a distribution, not with a label only."""
        probs = self.probs[annotator]
        if probs is None:
            return np.zeros(len(self), dtype=bool)
        return np.asarray((self.votes[:, annotator] >= 0) & ~np.isnan(probs).any(axis=1))

    def of(self, annotator: int) -> FloatArray:
        """(N, L) the annotator's distribution, or all on its vote; rows of zeros where it did not answer."""
        votes = self.votes[:, annotator]
        soft = np.zeros((len(self), self.size))
        there = np.flatnonzero(votes >= 0)
        soft[there, votes[there]] = 1.0
        probs, told = self.probs[annotator], self.told(annotator)
        if probs is not None:
            soft[told] = probs[told]
        return soft

    def indicators(self) -> Any:
        """(N, A * L) sparse: 1 in column a * L + l where annotator a said l."""
        from scipy.sparse import csr_array

        rows, annotators = np.nonzero(self.votes >= 0)
        columns = annotators * self.size + self.votes[rows, annotators]
        return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(self), self.annotators * self.size))


@dataclass(frozen=True)
class Training:
    """Distinct ballots a model is fitted on: `weight` (P,) rows stand behind each, `gold` (P,) is -1 where unknown."""

    ballots: Ballots
    weight: FloatArray
    gold: IntArray

    @property
    def known(self) -> IntArray:
        """Indices of the rows with gold."""
        return np.flatnonzero(self.gold >= 0)

    def prior(self) -> FloatArray:
        """(L,) shares of the classes: of the gold rows where there are any, else of the votes; one pseudo-row spread evenly."""
        size, known = self.ballots.size, self.known
        if len(known):
            counts = np.bincount(self.gold[known], self.weight[known], minlength=size)
        else:
            said = self.ballots.votes >= 0
            each = (self.weight / np.maximum(said.sum(axis=1), 1))[:, None] * said
            counts = np.bincount(self.ballots.votes[said], each[said], minlength=size)
        return np.asarray((counts + 1 / size) / (counts.sum() + 1))


def read(votes: ArrayLike, size: int, probs: Sequence[ArrayLike | None] | None = None, classifier: Any = None) -> Ballots:
    """Checked ballots; distributions are normalised.

    Raises: DataError when votes are not (N, A) class indices below `size`, or a distribution is not one.
    """
    votes = np.asarray(votes)
    if votes.ndim != 2 or not votes.shape[1] or not np.issubdtype(votes.dtype, np.integer):
        raise DataError(f"votes must be (N, A) class indices, one column per annotator, not {votes.dtype} {votes.shape}")
    if size < 2:
        raise DataError(f"consensus needs two classes or more, got {size}")
    wrong = np.argwhere((votes < -1) | (votes >= size))
    if len(wrong):
        row, who = (int(i) for i in wrong[0])
        raise DataError(
            f"vote {votes[row, who]} of annotator {who} in row {row} is no class index (0 to {size - 1}, or -1 for no answer); "
            f"{len(wrong)} such votes: turn answers outside the classes into -1"
        )
    given = tuple(probs) if probs is not None else (None,) * votes.shape[1]
    if len(given) != votes.shape[1]:
        raise DataError(f"probs must hold one array or None per annotator: {len(given)} for {votes.shape[1]} annotators")
    shape = (len(votes), size)
    soft = tuple(None if p is None else _distributions(p, shape, f"annotator {a}", votes[:, a] >= 0) for a, p in enumerate(given))
    machine = None if classifier is None else _distributions(classifier, shape, "the classifier", np.ones(len(votes), dtype=bool))
    if machine is not None and np.isnan(machine).any():
        raise DataError("the classifier's probabilities hold NaN: every row needs a distribution")
    return Ballots(votes.astype(np.int64), size, soft, machine)


def _distributions(probs: ArrayLike, shape: tuple[int, int], who: str, needed: BoolArray) -> FloatArray:
    rows = np.array(probs, dtype=np.float64)
    if rows.shape != shape:
        raise DataError(f"probabilities of {who} must be of shape {shape}, got {rows.shape}")
    known = needed & ~np.isnan(rows).any(axis=1)
    sums = rows[known].sum(axis=1)
    if (rows[known] < 0).any() or not (np.abs(sums - 1) < 0.01).all():
        raise DataError(f"probabilities of {who} must be at least 0 and sum to 1 in every row that was answered")
    rows[known] /= sums[:, None]
    return rows


def read_gold(gold: ArrayLike | None, rows: int, size: int) -> IntArray:
    """(N,) checked class indices, -1 where unknown. Raises: DataError."""
    if gold is None:
        return np.full(rows, -1, dtype=np.int64)
    known = np.asarray(gold)
    if known.shape != (rows,) or not np.issubdtype(known.dtype, np.integer):
        raise DataError(f"gold must be an array of {rows} class indices, -1 where unknown; got {known.dtype} {known.shape}")
    if ((known < -1) | (known >= size)).any():
        wrong = known[(known < -1) | (known >= size)][0]
        raise DataError(f"gold holds {wrong}: class indices are 0 to {size - 1}, or -1 where gold is unknown")
    return known.astype(np.int64)


def distinct(votes: IntArray, size: int) -> tuple[IntArray, IntArray, IntArray]:
    """Distinct rows of `votes` (values -1 to size - 1): first row of each, which of them every row is, rows of each."""
    keys, base = np.zeros(len(votes), dtype=np.int64), size + 1
    room = 1
    for column in votes.T:
        if room > 2**62 // base:
            keys = np.unique(keys, return_inverse=True)[1].astype(np.int64)
            room = len(votes)
        keys, room = keys * base + column + 1, room * base
    _, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    return first, inverse.astype(np.int64), counts


def training(ballots: Ballots, gold: IntArray, seed: int) -> Training:
    """What a model is fitted on: all gold rows and at most `FIT_ROWS` others, equal ones once."""
    rng = np.random.default_rng(seed)
    others = np.flatnonzero((gold < 0) & ballots.answered)
    if len(others) > FIT_ROWS:
        others = np.sort(rng.choice(others, FIT_ROWS, replace=False))
    rows = np.concatenate([np.flatnonzero(gold >= 0), others])
    if ballots.graded:
        return Training(ballots.take(rows), np.ones(len(rows)), gold[rows])
    first, _, counts = distinct(np.column_stack([ballots.votes[rows], gold[rows]]), ballots.size)
    return Training(ballots.take(rows[first]), counts.astype(np.float64), gold[rows[first]])


def softmax(scores: FloatArray) -> FloatArray:
    """Rows normalised, in probability."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def logs(probs: FloatArray) -> FloatArray:
    """Natural logarithms, finite also at zero."""
    return np.log(np.maximum(probs, np.finfo(np.float64).tiny))


def sharpened(probs: FloatArray, temperature: float) -> FloatArray:
    """(N, L) to the power 1 / temperature, normalised."""
    return softmax(logs(probs) / temperature)


def best_temperature(probs: FloatArray, gold: IntArray) -> float:
    """With the smallest log-loss, in [0.05, 50]. Args: probs: (n, L). gold: (n,) class indices. Source: Guo et al. 2017."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return float(losses_of(sharpened(probs, float(np.exp(log_temperature))), gold).mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log([0.05, 50.0]), method="bounded").x))


def losses_of(probs: FloatArray, gold: IntArray) -> FloatArray:
    """(n,) log-losses, nats."""
    return -np.log(np.maximum(probs[np.arange(len(gold)), gold], 1e-12))
