"""Dawid-Skene: the true label is hidden, and each annotator has a confusion matrix of its own.

Expectation-maximisation over distinct rows of votes. Rows with gold have a known true label and, together, count at least
as much as all rows without (EM-lambda, Nigam et al. 2000): else a million unlabelled rows would outvote a hundred gold ones.
Annotators are taken as independent given the truth. LLMs are not: their errors coincide, so that posteriors are far too sure.
Source: Dawid and Skene 1979, https://doi.org/10.2307/2346806.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llmlabel.annotation.consensus.ballots import Ballots, FloatArray, Training, logs, softmax
from llmlabel.annotation.consensus.voting import majority

STEPS = 50
TOLERANCE = 1e-4  # largest change of a posterior at which EM stops
PSEUDO_ROWS = 5.0  # rows that the prior of a confusion row weighs
LITTLE = 10  # rows per class below which one number per annotator has to do
Confusions = Callable[[FloatArray], FloatArray]  # (A, L true, L said) expected counts -> probabilities of the same shape


@dataclass(frozen=True)
class Confused:
    """`logs` (A, L true, L said): log-probabilities of saying; `prior` (L,); `weights` (A,): log-odds of being right."""

    logs: FloatArray
    prior: FloatArray
    weights: FloatArray

    def predict(self, ballots: Ballots) -> FloatArray:
        """(N, L) posterior of the true label; the prior where nobody answered."""
        return softmax(_evidence(ballots.indicators(), self.logs) + np.log(self.prior))


def _evidence(said: object, confusion_logs: FloatArray) -> FloatArray:
    """(N, L): log-likelihood of a row's votes for every true label."""
    size = confusion_logs.shape[1]
    return np.asarray(said @ confusion_logs.transpose(0, 2, 1).reshape(-1, size))  # type: ignore[operator]


def expectation_maximisation(rows: Training, confusions: Confusions) -> Confused:
    """Fit with any M-step, started from the shares of votes."""
    size, known = rows.ballots.size, rows.known
    said = rows.ballots.indicators()
    weight = rows.weight.copy()
    free = rows.gold < 0
    if len(known) and weight[free].sum() > 0:
        weight[free] *= min(1.0, weight[known].sum() / weight[free].sum())
    posterior = majority(rows).predict(rows.ballots)
    clamped = np.eye(size)[rows.gold[known]]
    posterior[known] = clamped
    for _ in range(STEPS):
        mass = posterior * weight[:, None]
        counts = (said.T @ mass).reshape(-1, size, size).transpose(0, 2, 1)
        confusion = confusions(counts)
        prior = (mass.sum(axis=0) + 1) / (mass.sum() + size)
        fresh = softmax(_evidence(said, np.log(confusion)) + np.log(prior))
        fresh[known] = clamped
        change = float(np.abs(fresh - posterior).max())
        posterior = fresh
        if change < TOLERANCE:
            break
    right = np.einsum("att,t->a", confusion, prior)
    odds = logs(right) + np.log(size - 1) - logs(1 - right)
    return Confused(np.log(confusion), prior, np.maximum(odds, 0.0))


def one_coin_confusions(counts: FloatArray) -> FloatArray:
    """Every annotator is right with a probability of its own, and errs evenly; shrunk to the mean annotator."""
    size = counts.shape[1]
    right, seen = np.einsum("att->a", counts), counts.sum(axis=(1, 2))
    mean = (right.sum() + 1) / (seen.sum() + 2)
    accuracy = np.clip((right + PSEUDO_ROWS * mean) / (seen + PSEUDO_ROWS), 0.01, 0.99)[:, None, None]
    return np.asarray(np.where(np.eye(size, dtype=bool), accuracy, (1 - accuracy) / (size - 1)))


def full_confusions(counts: FloatArray) -> FloatArray:
    """A row per true class, shrunk to the row of all annotators together, and that to one coin."""
    coin = one_coin_confusions(counts).mean(axis=0)
    pooled = counts.mean(axis=0) + PSEUDO_ROWS * coin
    shrunk = counts + PSEUDO_ROWS * pooled / pooled.sum(axis=1, keepdims=True)
    return np.asarray(shrunk / shrunk.sum(axis=2, keepdims=True))


def one_coin(rows: Training, seed: int = 0) -> Confused:
    return expectation_maximisation(rows, one_coin_confusions)


def dawid_skene(rows: Training, seed: int = 0) -> Confused:
    """Full confusion matrices; one coin per annotator where there are fewer than `LITTLE` rows per class."""
    enough = rows.weight.sum() >= LITTLE * rows.ballots.size
    return expectation_maximisation(rows, full_confusions if enough else one_coin_confusions)
